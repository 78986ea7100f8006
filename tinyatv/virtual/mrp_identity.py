"""What the device says of itself over MRP, and the quirks that it may have."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .. import proto
from ..model import PowerState
from ..proto import commands
from .state import State

if TYPE_CHECKING:
    from .side import Setup


class MrpQuirks:
    """What real devices do differently from each other, and what broken ones would do.

    All are off. Switch them before a client connects, or call :meth:`VirtualMrp.tell` afterwards.

    Attributes:
        hid_ack: Acknowledge button events, as tvOS does up to 13.
        no_timestamp: Leave out when the position was right; so it is not known.
        client_without_player: Name the app that plays but not its player.
        netflix: Paused, without an item.
        rate_zero: Rate 0.0 while playing.
        no_metadata: Items have an identifier and nothing else.
        update_client_first: Say who plays before saying what.
        no_generic_ack: Do not answer GENERIC: the heart-beat, and the flush after a button.
        late_ack: Seconds to wait before an empty acknowledgement.
        missing_type: Answers without the type field.
        old_messages: Messages that only systems before tvOS 13 send.
        unknown_messages: Messages of unknown types, with and without identifier.
        unknown_fields: Fields 500 and 501 of several wire types, in messages and bodies.
        wrong_types: Position and genre with another wire type than they have.
        one_byte_writes: Write one byte at a time.
        coalesce: Write all frames that belong together at once.
        refuse_verify: Answer pair-verify with status -6727 and nothing else.
        artwork_not_delivered: Announce artwork, answer without.
        artwork_limit: Bytes from which on artwork goes out as TRANSACTION instead; None is never.
    """

    __slots__ = (
        "artwork_limit", "artwork_not_delivered", "client_without_player", "coalesce",
        "hid_ack", "late_ack", "missing_type", "netflix", "no_generic_ack", "no_metadata",
        "no_timestamp", "old_messages", "one_byte_writes", "rate_zero",
        "refuse_verify", "unknown_fields", "unknown_messages", "update_client_first", "wrong_types",
    )  # fmt: skip  # a misspelt one must not go unnoticed

    def __init__(self) -> None:
        self.hid_ack = False
        self.no_timestamp = False
        self.client_without_player = False
        self.netflix = False
        self.rate_zero = False
        self.no_metadata = False
        self.update_client_first = False
        self.no_generic_ack = False
        self.late_ack = 0.0
        self.missing_type = False
        self.old_messages = False
        self.unknown_messages = False
        self.unknown_fields = False
        self.wrong_types = False
        self.one_byte_writes = False
        self.coalesce = False
        self.refuse_verify = False
        self.artwork_not_delivered = False
        self.artwork_limit: int | None = None


class MrpIdentity:
    """What the device says of itself and never changes.

    Attributes:
        name: What it is called in the service record.
        identifier: A UUID in upper case; in the service record and in pairing, too.
        model: ``AppleTV6,2``.
        build: ``18M60``.
        mac: Hardware address, upper case with colons.
        last_message: Highest type of message that it knows.
        group: UUID of its group of outputs.
        cluster: Identifier of the stereo pair or home theatre that it belongs to, or None.
        allows_pairing: False says so, and refuses whoever wants to pair.
    """

    def __init__(self, setup: Setup) -> None:
        self.name = setup.name
        self.identifier = setup.identifier
        self.model = setup.model
        self.build = setup.build
        self.mac = setup.mac
        self.last_message = setup.profile.last_message
        self.group = proto.new_id()
        self.cluster: str | None = None
        self.allows_pairing = True

    def txt(self) -> dict[str, str | None]:
        """The properties of the service record."""
        pairing = "YES" if self.allows_pairing else "NO"
        return {
            "Name": self.name, "ModelName": "Apple TV", "UniqueIdentifier": self.identifier,
            "SystemBuildVersion": self.build, "AllowPairing": pairing,
            "macAddress": self.mac.lower(),
        }  # fmt: skip

    @property
    def output(self) -> str:
        """By what the device itself is known in messages about volume."""
        return self.cluster or self.identifier


class Hardware:
    """The device and its outputs at one moment, whatever plays.

    Attributes:
        facts: All that it depends on: without a change of these there is nothing to tell.
    """

    def __init__(self, state: State, identity: MrpIdentity) -> None:
        self._identity = identity
        self.facts = (
            state.name,
            state.power,
            state.volume,
            (state.volume_control, state.relative_volume, state.absolute_volume),
            state.output.identifier,
            (*state.outputs,),
            [(one.identifier, one.name, one.volume) for one in state.known_outputs],
            (identity.allows_pairing, identity.cluster),
            state.tells_volume,
        )

    @property
    def available(self) -> bool:
        """True if the volume can be changed."""
        return self.capabilities != 0

    @property
    def capabilities(self) -> int:
        """How the volume can be changed: 1 by steps, 2 to what one wants."""
        control, relative, absolute = self.facts[3]
        return (relative * commands.RELATIVE + absolute * commands.ABSOLUTE) * control

    @functools.cached_property
    def volumes(self) -> dict[str, float]:
        """Levels from 0 to 1, of the outputs that tell."""
        if not self.capabilities & commands.ABSOLUTE or not self.facts[-1]:
            return {}
        return {
            self._identity.output if own else uid: level
            for uid, _, level, own, used in self._outputs()
            if own or used
        }

    @functools.cached_property
    def outputs(self) -> dict[str, dict[str, Any]]:
        """The outputs in use as fields of messages."""
        return {
            uid: {
                "name": name,
                "uniqueIdentifier": uid,
                "groupID": self._identity.group,
                "isLocalDevice": own,
                "isGroupLeader": own,
                "isVolumeControlAvailable": self.available,
                "volumeCapabilities": self.capabilities,
                **({"volume": level} if self.facts[-1] else {}),
                **({"modelID": self._identity.model} if own else {}),
            }
            for uid, name, level, own, used in self._outputs()
            if used
        }

    def _outputs(self) -> Iterator[tuple[str, str, float, bool, bool]]:
        """(identifier, name, level, whether it is the device itself, whether it is in use)."""
        _, _, volume, _, itself, used, known, *_ = self.facts
        for uid, name, level in known:
            own = uid == itself
            yield uid, name, (volume if own else level) / 100, own, uid in used

    @functools.cached_property
    def info(self) -> dict[str, Any]:
        """The fields of DEVICE_INFO."""
        identity = self._identity
        name, power, _, _, itself, used, known, (allows_pairing, cluster), _ = self.facts
        others = [
            {"name": other, "deviceUID": uid, "uniqueIdentifier": uid}
            for uid, other, _ in known
            if uid in used and uid != itself
        ]
        return {
            "uniqueIdentifier": identity.identifier,
            "name": name,
            "localizedModelName": "Apple\xa0TV",
            "systemBuildVersion": identity.build,
            "applicationBundleIdentifier": "com.apple.mediaremoted",
            "protocolVersion": 1,
            "lastSupportedMessageType": identity.last_message,
            "supportsSystemPairing": True,
            "allowsPairing": allows_pairing,
            "systemMediaApplication": "com.apple.TVMusic",
            "supportsACL": True,
            "supportsSharedQueue": True,
            "supportsExtendedMotion": True,
            "bluetoothAddress": bytes.fromhex(identity.mac.replace(":", "")),
            "sharedQueueVersion": 1,
            "deviceUID": identity.identifier,
            "managedConfigDeviceID": identity.mac.lower(),
            "deviceClass": 4,
            "logicalDeviceCount": 0 if power is PowerState.Off else 1,
            "isProxyGroupPlayer": bool(used) and itself not in used,
            "groupUID": identity.group,
            "groupedDevices": others,
            "isGroupLeader": bool(used),
            "isAirplayActive": False,
            "modelID": identity.model,
            **({"clusterID": cluster} if cluster else {}),
        }
