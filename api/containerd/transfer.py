"""Transfer: whole image operations done by the daemon, from containerd 1.7 on; older ones: Unimplemented."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.containerd import typed_value
from api.containerd.calls import Link, Unary
from api.wire.containerd import transfer_pb2, transfer_pb2_grpc

if TYPE_CHECKING:
    from api.containerd.typed_value import TypedValue


class Transfer:
    """The transfer service."""

    def __init__(self, link: Link) -> None:
        stub = link.stub(transfer_pb2_grpc.TransferStub)
        self._transfer = Unary(link, stub.Transfer, "Transfer", "Transfer")

    async def transfer(
        self,
        source: TypedValue,
        destination: TypedValue,
        *,
        progress_stream: str = "",
        timeout: float | None = None,
    ) -> None:
        """Move what `source` names to what `destination` names (messages of `transfer_types_pb2`).

        `progress_stream` is the ID of a stream (`streams.py`) that gets Progress messages. Raises
        Unimplemented for pairs that the daemon cannot move, and before 1.7 for all.
        """
        request = transfer_pb2.TransferRequest(
            source=typed_value.to_wire(source),
            destination=typed_value.to_wire(destination),
            options=transfer_pb2.TransferOptions(progress_stream=progress_stream),
        )
        await self._transfer(request, timeout)
