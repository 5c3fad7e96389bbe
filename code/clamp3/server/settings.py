"""What a server takes and how long it waits; every limit has a reason to be where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Settings:
    """Limits of a server.

    Attributes
    ----------
    hosts : sequence of str
        Names by which clients may call this server; a page of another name that resolves to it is refused.
    token : str
        What clients have to show; "" asks for nothing.
    max_upload_mb : int
        Of one upload.
    max_json_mb : int
        Of a question; ten thousand characters of text in sixteen parts are far less.
    longest_upload_sec : float
        Of one recording; longer ones would hold the encoder for minutes.
    body_sec, body_bytes_per_sec : float
        A body must come as fast as this after a grace of so many seconds.
    answer_sec : float
        Longest time a question may wait and run.
    n_texts, n_music, n_questions : int
        How many texts, uploads and questions may wait; more are refused, to be asked again.
    batch : int
        Most texts encoded together.
    map_method : str
        As of `clamp3.retrieval.projection.project`.
    caption_model : str
        What describes pictures, a folder or a hub name; "" takes the usual one if it is on this computer.
    uploads, upload_hours
        How many vectors of uploads are kept, and how long.
    """

    hosts: Sequence[str] = ("127.0.0.1", "localhost", "[::1]", "testserver")
    token: str = ""
    max_upload_mb: int = 32
    max_json_mb: int = 1
    longest_upload_sec: float = 600.0
    body_sec: float = 15.0
    body_bytes_per_sec: float = 50_000.0
    answer_sec: float = 60.0
    n_texts: int = 256
    n_music: int = 16
    n_questions: int = 64
    batch: int = 32
    map_method: str = "umap"
    caption_model: str = ""
    uploads: int = 256
    upload_hours: float = 1.0
