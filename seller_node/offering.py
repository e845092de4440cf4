"""What this machine would offer: the jail as it was found, the profile, the runtimes once they were tried."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import seccomp
from events.profile import MOST_FLAGS
from seccomp import Limits
from seller_node.bandwidth import Bucket
from seller_node.policy import NICE, Policy, Priority
from seller_node.profile import Profile, offer
from seller_node.run import Jails
from seller_node.trial import try_all


@dataclass(frozen=True)
class Offering:
    """What would be offered, before any runtime was tried."""

    profile: Profile
    report: seccomp.Report
    policy: Policy

    def limits(self) -> Limits:
        """Of one program."""
        priority = self.policy.priority
        return Limits(self.profile.memory_mb, nice=NICE[priority], idle=priority == Priority.IDLE)

    @contextlib.asynccontextmanager
    async def tried(self) -> AsyncIterator[tuple[Profile, Jails]]:
        """The profile with the flags of what runs, and where it runs, after a trial. Raises JailError."""
        async with contextlib.AsyncExitStack() as ours:
            runtimes = seccomp.runtimes(self.report)
            for runtime in runtimes:
                ours.push_async_callback(runtime.close)
            flags = tuple(sorted({*self.profile.flags, *await try_all(runtimes)}))
            line = self.policy.bandwidth
            jails = Jails(
                {runtime.tag: runtime for runtime in runtimes},
                self.limits(),
                Bucket(line.up),
                Bucket(line.down),
            )
            yield replace(self.profile, flags=flags[:MOST_FLAGS]), jails


def find_offering(
    report: seccomp.Report, policy: Policy, name: str, cpus: int | None, memory: int | None, more_cpus: bool
) -> Offering:
    """What this machine would offer. Raises BadOfferError; JailError where it must not run anything."""
    tags = [runtime.tag for runtime in seccomp.runtimes(report)]
    if not tags and report.level:
        raise seccomp.JailError(
            f"at level {report.level} of the jail wasm alone is run, and there is none here: install the "
            f"package wasmtime, or get a higher level ({report.missing()})"
        )
    if not tags:
        raise seccomp.JailError(f"this machine cannot hold a stranger's program: {report.missing('C')}")
    profile = offer(
        machine=name, cpus=cpus, memory=memory, more_cpus=more_cpus, level=report.level, tags=tags,
        on_cpus=policy.cpus,
    )  # fmt: skip
    return Offering(profile, report, policy)
