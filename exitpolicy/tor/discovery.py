"""The relays of this host, where the packages of Debian and FreeBSD put them."""

from pathlib import Path

from exitpolicy.storage.config import Relay


def relays(root: Path = Path("/")) -> tuple[Relay, ...]:
    """Return the relays that are set up below `root`, running or not; `default` comes first."""
    found: list[Relay] = []
    if (root / "etc/tor/torrc").is_file():
        found.append(Relay("default", root / "etc/tor/torrc", str(root / "run/tor/control")))
    instances = root / "etc/tor/instances"
    if instances.is_dir():
        found += [
            Relay(
                folder.name,
                folder / "torrc",
                str(root / "run/tor-instances" / folder.name / "control"),
            )
            for folder in sorted(instances.iterdir())
            if (folder / "torrc").is_file()
        ]
    bsd = root / "usr/local/etc/tor/torrc"
    if not found and bsd.is_file():
        found.append(Relay("default", bsd, str(root / "var/run/tor/control")))
    return tuple(found)


def defaults_torrc(relay: Relay, root: Path = Path("/")) -> Path | None:
    """Return a relay's defaults-torrc: as in the config, or as Debian's units have it; or None."""
    if relay.defaults_torrc is not None:
        return relay.defaults_torrc
    candidates = [root / "usr/share/tor/tor-service-defaults-torrc"]
    if relay.torrc.parent.parent == root / "etc/tor/instances":
        candidates.insert(0, root / "run/tor-instances" / f"{relay.name}.defaults")
    elif relay.torrc != root / "etc/tor/torrc":
        return None
    return next((path for path in candidates if path.is_file()), None)
