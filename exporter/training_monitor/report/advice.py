"""What to do about an anomaly: written once, used by the report, the alert text and the runbook.

Written for a tired person at night: what it means in one sentence, where to look first, then short steps in the order
in which they pay. `ADVICE` has an entry for every kind of `records.KINDS`; a crash is told apart by its failure kind
(`FAILURES`), because what helps after an out-of-memory error does not help after a time limit.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Advice:
    """What an anomaly means and what to do about it."""

    title: str  # names the anomaly in a heading: "Loss spike"
    meaning: str  # one sentence
    look_first: str  # one sentence: the quickest look that tells most
    actions: tuple[str, ...]  # imperative sentences, most useful first


ADVICE: dict[str, Advice] = {
    "crashed": Advice(
        "Training crashed",
        "The log shows an error that ends the run; no further step will come.",
        "Read the first error line of the log: the later ones mostly follow from it.",
        (
            "Log the last step and the first error line.",
            "Check on the machine that no process is left over and that the GPUs are free (nvidia-smi).",
            "Fix the cause before you restart; the same step will fail again otherwise.",
            "Resume from the latest complete checkpoint.",
        ),
    ),
    "stalled": Advice(
        "Training stalled",
        "No new step for far longer than this run needs for its evaluations and checkpoints.",
        "Check whether the process is alive and whether its GPUs work (nvidia-smi).",
        (
            "Check that the disk is not full and that the log file can still be written.",
            "Dump the stacks of every rank (py-spy dump --pid PID): one rank often waits for another.",
            "Check the network and storage of every node; a hung read or collective shows no error.",
            "If nothing moves, kill the job and resume from the latest checkpoint; a hung job costs money too.",
        ),
    ),
    "non_finite_loss": Advice(
        "Loss is not a number",
        "The loss is NaN or infinite; training does not recover from this by itself.",
        "Look at loss and grad norm in the steps just before: a rise points at the optimiser, none at one bad batch.",
        (
            "Stop the run; every further step is wasted.",
            "Resume from a checkpoint before this step.",
            "Check the batch of this step for empty, corrupt or fully masked samples.",
            "Lower the learning rate or clip gradients if the loss rose before.",
            "Check the precision: overflow in fp16 or fp8 goes away in bf16.",
        ),
    ),
    "loss_spike": Advice(
        "Loss spike",
        "The loss jumped above its recent level.",
        "Watch the next 50 steps: a spike that falls back by itself needs no action.",
        (
            "Log the step and the height of the spike.",
            "Check the data at that step for corrupt, repeated or foreign documents.",
            "Consider gradient clipping if none is used, or a lower threshold.",
            "Consider a lower learning rate or a longer warm-up if spikes come back.",
            "If the loss does not return, resume from a checkpoint about 100 steps earlier and skip these batches.",
        ),
    ),
    "loss_divergence": Advice(
        "Loss diverges",
        "The loss has been rising over many steps instead of falling.",
        "Compare learning rate and grad norm with the time before the rise began.",
        (
            "Log the step at which the rise began.",
            "Lower the learning rate; it is the most common cause.",
            "Consider gradient clipping and a longer warm-up.",
            "Check whether the data changed: a new shard, source or mixture.",
            "If it goes on rising, resume from a checkpoint before the rise.",
        ),
    ),
    "grad_norm_spike": Advice(
        "Gradient norm spike",
        "The gradient norm jumped far above its recent level; a loss spike often follows.",
        "See whether the loss rises in the next steps.",
        (
            "Log the step.",
            "Check that gradient clipping is on.",
            "Check the data at that step for outliers.",
            "Consider a lower learning rate if it happens again.",
        ),
    ),
    "plateau": Advice(
        "Loss plateau",
        "The loss has stopped improving, measured against this run's own trend.",
        "Check the learning rate: near the end of its schedule a flat loss is normal.",
        (
            "Check whether the learning rate is too low, and adjust it.",
            "Consider a warm restart of the learning rate.",
            "Check that parameters are updated: optimiser, frozen layers, gradient scale.",
            "Check whether the data repeats, and compare with the validation loss.",
            "If the loss is as low as you need, stop the run and save the money.",
        ),
    ),
    "mfu_drop": Advice(
        "MFU drop",
        "The GPUs do less useful work per second than this run did before.",
        "Check GPU utilisation and clocks on every node (nvidia-smi dmon).",
        (
            "Check GPU utilisation: low utilisation means waiting for data, storage or network.",
            "Check for thermal throttling and power caps (nvidia-smi -q -d PERFORMANCE).",
            "Check for background processes on GPU and CPU, other users included.",
            "Check whether the data loader keeps up.",
            "If one node is slow, replace it and resume from the latest checkpoint.",
        ),
    ),
    "slowdown": Advice(
        "Training slowed down",
        "A step takes longer than it did before; the end moves away and the run costs more.",
        "Check GPU clocks and utilisation (nvidia-smi dmon), then the data loader.",
        (
            "Check for background processes on GPU and CPU, other users included.",
            "Check for thermal throttling and power caps (nvidia-smi -q -d PERFORMANCE).",
            "Check storage and network: a slow data loader or a slow link delays every step.",
            "With several nodes, find the slow one: all others wait for it.",
            "If it lasts, resume from the latest checkpoint on other hardware.",
        ),
    ),
    "over_budget": Advice(
        "Over budget",
        "At this pace the run will cost more than the budget that you set.",
        "Check whether the run became slower or was planned too long.",
        (
            "Fix a slowdown first, if one is reported.",
            "Decide whether the expected final loss is worth the extra cost.",
            "Shorten the run: plan fewer steps, and let the learning rate decay by then.",
            "Raise the budget if it was meant as a reminder.",
        ),
    ),
    "behind_baseline": Advice(
        "Behind the baseline run",
        "At the same step the loss is higher than that of the baseline run.",
        "Compare learning rate, batch size and data of the two runs.",
        (
            "Check that both runs print the same loss: same tokeniser, same averaging.",
            "Compare the configurations; a difference in the learning-rate schedule explains most gaps.",
            "Find the step at which the curves part, and what changed there.",
            "Stop early if the run only serves to beat the baseline.",
        ),
    ),
}

#: What a crash means and needs, by the failure kind of the log's error line.
FAILURES: dict[str, Advice] = {
    "traceback": Advice(
        "Python exception",
        "The training script ended with an uncaught exception.",
        "Read the last line of the traceback; in a mixed log it may stand above older output.",
        (
            "Fix the error that the traceback names.",
            "With several ranks, read the rank that failed first; the others follow.",
            "Resume from the latest complete checkpoint.",
        ),
    ),
    "import_error": Advice(
        "Missing module",
        "A Python module could not be imported, so training never began.",
        "Check that the job runs in the environment you think it does.",
        (
            "Install the missing module in the environment of the job, on every node.",
            "Check that the job script activates that environment.",
        ),
    ),
    "cuda_oom": Advice(
        "GPU out of memory",
        "A GPU had no memory left.",
        "Check whether another process holds memory on that GPU (nvidia-smi).",
        (
            "Kill processes left over on the GPU.",
            "Lower the micro-batch size and raise gradient accumulation in step.",
            "Turn on activation checkpointing, or shorten the sequences.",
            "If it came late in the run, set PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True against fragmentation.",
            "Resume from the latest checkpoint.",
        ),
    ),
    "cuda_error": Advice(
        "CUDA error",
        "The GPU or its driver reported an error.",
        "Look for Xid messages in the kernel log of that node (dmesg).",
        (
            "Check the GPU's ECC errors and remapped rows (nvidia-smi -q); drain the node if there are any.",
            "Rerun with CUDA_LAUNCH_BLOCKING=1 if it comes back at the same step: then it is the code.",
            "Resume from the latest checkpoint, on another node if in doubt.",
        ),
    ),
    "nccl_timeout": Advice(
        "NCCL timeout",
        "A collective operation did not finish in time: one rank hung, died or was far behind.",
        "Find the rank that did not join the collective: it is the cause, the others only waited.",
        (
            "Look for an earlier error of one rank: out of memory, a full disk, a bad batch.",
            "Check GPUs and links of that node (nvidia-smi, ibstat, dmesg).",
            "Raise the timeout only if a slow checkpoint or evaluation is the known reason.",
            "Resume from the latest checkpoint without the suspect node.",
        ),
    ),
    "sigabrt": Advice(
        "Process aborted",
        "The process aborted itself, mostly after a fatal error in CUDA, NCCL or another native library.",
        "Read the lines just above for the real cause.",
        (
            "Fix the cause that those lines name.",
            "Resume from the latest complete checkpoint.",
        ),
    ),
    "sigterm": Advice(
        "Process terminated",
        "Something asked the process to stop: the scheduler, preemption or another rank's failure.",
        "Check the scheduler's record of the job, and the other ranks for an earlier error.",
        (
            "If the machine was preempted, resume from the latest checkpoint on a new one.",
            "Save checkpoints more often if much work was lost.",
        ),
    ),
    "sigkill": Advice(
        "Process killed",
        "The process was killed from outside, mostly by the kernel because the host's memory was full.",
        "Look for the OOM killer in the kernel log (dmesg | grep -i oom).",
        (
            "Lower the number of data loader workers or their prefetching.",
            "Ask for more host memory, or move memory-hungry neighbours away.",
            "Resume from the latest complete checkpoint.",
        ),
    ),
    "slurm_time_limit": Advice(
        "SLURM time limit",
        "The job reached its time limit and was cancelled.",
        "Compare the estimated time remaining with the limit of the partition.",
        (
            "Submit again, resuming from the latest checkpoint.",
            "Ask for more time, or chain jobs (sbatch --dependency=afterany:JOB).",
            "Save a checkpoint shortly before the limit (sbatch --signal).",
        ),
    ),
    "slurm_cancelled": Advice(
        "SLURM job cancelled",
        "The job was cancelled by a person, the scheduler or preemption.",
        "Ask the scheduler who cancelled it and why (sacct -j JOB).",
        ("If it was not meant, submit again, resuming from the latest checkpoint.",),
    ),
    "torchrun_failed": Advice(
        "torchrun reports a failed rank",
        "One rank failed and torchrun stopped the others.",
        "Read 'Root Cause (first observed failure)' and that rank's own output.",
        (
            "Fix the cause in the rank that failed first.",
            "Resume from the latest complete checkpoint.",
        ),
    ),
    "keyboard_interrupt": Advice(
        "Interrupted by hand",
        "Somebody pressed Ctrl-C; this is no crash.",
        "Nothing is wrong if it was you.",
        ("Resume from the latest checkpoint to go on.",),
    ),
}


def advice_for(kind: str, failure: str | None = None) -> Advice:
    """The advice for an anomaly of `kind`; for a crash the one of its failure kind, where there is one.

    An unknown kind gets the advice to read the log, so that a report never fails on a name.
    """
    if kind == "crashed" and failure in FAILURES:
        return FAILURES[failure]
    return ADVICE.get(kind, _UNKNOWN)


_UNKNOWN = Advice(
    "Unknown anomaly",
    "No advice is written for this kind of anomaly.",
    "Read the log around that step.",
    ("Read the log around that step.",),
)
