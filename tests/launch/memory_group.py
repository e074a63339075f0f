"""A Linux control group that holds the memory of a command, as Binder's container does; needs root."""

import os
from contextlib import contextmanager
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
V2 = MOUNT / "cgroup.controllers"  # exists where the newer kind of control groups is in use


@contextmanager
def memory_group(limit):
    """A new group of at most `limit` bytes, without swap; yields its folder, or None where no group can be made."""
    parent = MOUNT if V2.exists() else MOUNT / "memory"
    group = parent / f"rmtutorial-{os.getpid()}"
    try:
        group.mkdir()
        if V2.exists():
            (group / "memory.max").write_text(str(limit))
            (group / "memory.swap.max").write_text("0")
        else:
            (group / "memory.limit_in_bytes").write_text(str(limit))
            (group / "memory.memsw.limit_in_bytes").write_text(str(limit))
    except OSError as error:
        print(f"   no memory group ({error}): the peak is measured, but nothing is killed above the limit")
        if group.exists():
            group.rmdir()
        yield None
        return
    try:
        yield group
    finally:
        group.rmdir()


def inside(group, command):
    """`command` in the group, on one core, with the group's limit where a process in a container finds its own."""
    if group is None:
        return ["taskset", "-c", "0", *command]
    script = f'echo $$ > {group}/cgroup.procs; mount --bind {group} {group.parent}; exec "$@"'
    return ["unshare", "--mount", "taskset", "-c", "0", "sh", "-ec", script, "sh", *command]


def killed(group):
    """How many processes of the group were killed for memory."""
    if group is None:
        return 0
    text = (group / ("memory.events" if V2.exists() else "memory.oom_control")).read_text()
    return int(dict(line.split() for line in text.splitlines())["oom_kill"])
