"""Which addresses a search covers: CIDR words checked and expanded one address at a time."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from agent.errors import InputError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_ADDRESSES = 65_536
# Even when asked for by name: a day and more at the usual rate.
MAX_FORCED = 16_777_216
# What belongs to a site and to nobody else on the internet. 100.64.0.0/10 is a provider's, not a site's.
_OWN: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "127.0.0.0/8",
        "fc00::/7",
        "fe80::/10",
        "::1/128",
    )
)


class Ranges:
    """The addresses of a search, each once, in the order they were asked for. Made by `parse_ranges`."""

    def __init__(self, networks: Sequence[Network]) -> None:
        # Two CIDR ranges are apart or one holds the other.
        kept: list[Network] = []
        for i, network in enumerate(networks):
            earlier = any(_within(network, other) for other in networks[:i])
            later = any(network != other and _within(network, other) for other in networks[i + 1 :])
            if not earlier and not later:
                kept.append(network)
        self.networks = tuple(kept)

    def __len__(self) -> int:
        return sum(_hosts(network) for network in self.networks)

    def __iter__(self) -> Iterator[str]:
        for network in self.networks:
            for address in network.hosts():
                yield str(address)

    def __contains__(self, address: object) -> bool:
        """True if the search asks this address; never for a host name."""
        try:
            place = ipaddress.ip_address(str(address))
        except ValueError:
            return False
        return any(place in network and _is_host(place, network) for network in self.networks)


def parse_ranges(words: Sequence[str], *, force_large: bool = False, allow_public: bool = False) -> Ranges:
    """The addresses that `words` (CIDR ranges or single addresses) name.

    Args:
        force_large: take more than 65,536 addresses, up to 16,777,216.
        allow_public: take ranges that are neither private, link-local nor loopback.

    Raises:
        InputError: no range, not a range, too large, or public without leave.
    """
    if not words:
        raise InputError("name at least one address or CIDR range, for example 10.0.1.0/24")
    networks = [_network(word, allow_public) for word in words]
    most = MAX_FORCED if force_large else MAX_ADDRESSES
    total = 0
    for network in networks:
        total += network.num_addresses
        if network.num_addresses > most:
            raise InputError(_too_large(str(network), network.num_addresses, force_large))
    if total > most:
        raise InputError(_too_large("the ranges", total, force_large))
    return Ranges(networks)


def _network(word: str, allow_public: bool) -> Network:
    try:
        network = ipaddress.ip_network(word.strip(), strict=False)
    except ValueError:
        raise InputError(f"{word!r} is no address or CIDR range") from None
    if network.is_multicast or network.network_address.is_unspecified:
        raise InputError(f"{word}: no miner can have such an address")
    if not allow_public and not any(_within(network, own) for own in _OWN):
        raise InputError(
            f"{word} is not a private range, so other people's machines may be in it; "
            "say --allow-public if it is yours"
        )
    return network


def _too_large(what: str, count: int, forced: bool) -> str:
    if forced:
        return f"{what}: {count:,} addresses; {MAX_FORCED:,} is the most that can be searched"
    return (
        f"{what}: {count:,} addresses are more than {MAX_ADDRESSES:,}; search in parts, or say --force-large"
    )


def _within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, ipaddress.IPv4Network):
        return isinstance(outer, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, ipaddress.IPv6Network) and inner.subnet_of(outer)


def _hosts(network: Network) -> int:
    count = network.num_addresses
    if network.prefixlen >= network.max_prefixlen - 1:
        return count
    # The network's own address and, with IPv4, the broadcast address are no hosts.
    return count - (2 if network.version == 4 else 1)


def _is_host(address: ipaddress.IPv4Address | ipaddress.IPv6Address, network: Network) -> bool:
    if network.prefixlen >= network.max_prefixlen - 1:
        return True
    return address != network.network_address and (
        network.version == 6 or address != network.broadcast_address
    )
