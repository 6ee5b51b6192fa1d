"""What one of our processes keeps telling another: each thing once, until it changes or is asked for again."""

from __future__ import annotations

from ha_lvs.daemon.channel import Channel


class Told:
    """What another process of ours has been told, each thing by its name.

    A frame that cannot be sent is tried again by `catch_up`, in its latest version; so is everything by `all_again`.

    Arguments:
        channel: to that process.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._frames: dict[str, object] = {}
        self._unsent: dict[str, None] = {}  # in the order of the news

    def tell(self, name: str, frame: object) -> None:
        """Sends a frame, if it is another than the last of this name."""
        if self._frames.get(name) != frame:
            self._frames[name] = frame
            self._unsent[name] = None
            self.catch_up()

    def all_again(self) -> None:
        """Sends everything: the other process was started anew."""
        self._unsent = dict.fromkeys(self._frames)
        self.catch_up()

    def catch_up(self) -> None:
        """Sends what could not be sent."""
        for name in list(self._unsent):
            if not self._channel.send(self._frames[name]):
                return
            del self._unsent[name]
