"""List the works of music21's corpus (and, optionally, of OpenScore Lieder) with the facts in their headers.

A `Source` is one piece: a tune of a multi-tune ABC file, a kern movement, or a MusicXML score.
Nothing is converted here; listing everything takes seconds.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from clamp3.formats.tables import read_csv

MODES = {
    "": "major", "maj": "major", "ion": "major", "m": "minor", "min": "minor", "aeo": "minor",
    "dor": "dorian", "mix": "mixolydian", "phr": "phrygian", "lyd": "lydian",
}  # fmt: skip
PITCH_CLASS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
# music21 takes a second per movement: of each mass some movements, and of those what nearly fills a window.
KERN_BARS, MOVEMENTS_PER_MASS = 60, 3

# The meaning of Essen's German fields, by the first pattern that fits.
ESSEN_REGIONS = (
    (r"China|Taiwan", "china"), (r"Luxemb", "luxembourg"), (r"^Lothringen|Mitteleuropa, Lothringen", "lorraine"),
    (r"Irland|Gaelisch", "ireland"), (r"Deutschland", "germany"),
    (r"Oesterreich|Tirol|Steiermark|Kaernten", "austria"), (r"Schweiz", "switzerland"),
    (r"Niederlande|flaemisch|Belgien", "netherlands"), (r"Jugoslaw|Serb|Kroat", "balkans"), (r"Rumaen", "romania"),
    (r"Ungarn", "hungary"), (r"Tschech|Boehm|Maehren", "bohemia"), (r"Polen|Schlesien", "poland"),
    (r"UdSSR|Russland|Ukraine", "russia"), (r"Lothringen", "lorraine"), (r"Frankreich|Elsass", "france"),
    (r"England|Grossbrit", "england"), (r"Schottland", "scotland"),
    (r"Schweden|Daenemark|Norwegen|Island", "scandinavia"), (r"Italien", "italy"), (r"Spanien", "spain"),
    (r"Mexiko", "mexico"), (r"Amerika|USA", "america"),
)  # fmt: skip
ESSEN_FORMS = (
    (r"Wiegen", "lullaby"), (r"Kinder", "children"), (r"Ballade", "ballad"),
    (r"[Gg]eistlich|religi|Weihnacht", "sacred"), (r"Tanz", "dance_song"), (r"Trink|Zech", "drinking"),
    (r"Soldat|Krieg", "soldier"), (r"Hochzeit|Ehestand", "wedding"), (r"Abschied", "farewell"),
    (r"Jaeger|Jagd", "hunting"), (r"Liebe", "love"), (r"Staende|Beruf|Arbeit", "work_song"),
    (r"Scherz|lustig|Schalk", "humorous"), (r"Romanze|Sage|erzaehl", "ballad"), (r"Shange", "mountain_song"),
    (r"Xiaodiao", "little_tune"), (r"Xiqu|quju", "opera_tune"),
)  # fmt: skip
DANCES = (
    (r"slip ?jig", "slip_jig"), (r"jig", "jig"), (r"reel", "reel"), (r"hornpipe", "hornpipe"),
    (r"strathspey", "strathspey"), (r"clog", "clog"), (r"fling", "fling"), (r"waltz", "waltz"),
    (r"minuet|menuet", "minuet"), (r"quick ?step|march", "march"), (r"polka", "polka"), (r"gavotte", "gavotte"),
    (r"\bair\b", "air"), (r"slide", "jig"), (r"walk ?around", "clog"),
)  # fmt: skip
ONEILL_FORMS = (
    (700, "air"),
    (1115, "jig"),
    (1175, "slip_jig"),
    (1555, "reel"),
    (1740, "hornpipe"),
    (1800, "dance"),
    (1850, "march"),
)
TRECENTO_COMPOSERS = {
    "Jacopo": "Jacopo da Bologna", "Giovanni": "Giovanni da Cascia", "Piero": "Maestro Piero",
    "Lorenzo": "Lorenzo da Firenze", "Landini": "Francesco Landini", "Gratiosus": "Gratiosus de Padua",
}  # fmt: skip

COMPOSER_REGIONS = (
    (r"German", "germany"), (r"Austrian", "austria"), (r"French", "france"), (r"US|American", "america"),
    (r"English|British", "england"), (r"Italian", "italy"), (r"Scottish", "scotland"), (r"Irish", "ireland"),
    (r"Polish", "poland"), (r"Russian", "russia"), (r"Spanish", "spain"), (r"Swedish|Norwegian|Danish", "scandinavia"),
)  # fmt: skip

# folder: (collection, composer, region, century, form)
SCORES: dict[str, tuple[str, str, str, int, str]] = {
    "bach": ("bach_chorale", "Johann Sebastian Bach", "germany", 18, "chorale"),
    "monteverdi": ("monteverdi", "Claudio Monteverdi", "italy", 17, "madrigal"),
    "trecento": ("trecento", "", "italy", 14, "trecento_song"),
    "beethoven": ("string_quartet", "Ludwig van Beethoven", "austria", 19, "string_quartet"),
    "haydn": ("string_quartet", "Joseph Haydn", "austria", 18, "string_quartet"),
    "mozart": ("string_quartet", "Wolfgang Amadeus Mozart", "austria", 18, "string_quartet"),
    "beach": ("art_music", "Amy Beach", "america", 20, "song"),
    "ciconia": ("art_music", "Johannes Ciconia", "italy", 15, "madrigal"),
    "chopin": ("art_music", "Frédéric Chopin", "poland", 19, "piano_piece"),
    "corelli": ("art_music", "Arcangelo Corelli", "italy", 17, "sonata"),
    "cpebach": ("art_music", "Carl Philipp Emanuel Bach", "germany", 18, "sonata"),
    "handel": ("art_music", "George Frideric Handel", "england", 18, "aria"),
    "johnson_j_r": ("art_music", "John Rosamond Johnson", "america", 20, "song"),
    "joplin": ("art_music", "Scott Joplin", "america", 19, "ragtime"),
    "leadSheet": ("art_music", "", "america", 20, "song"),
    "liliuokalani": ("art_music", "Liliʻuokalani", "america", 19, "song"),
    "luca": ("art_music", "", "italy", 15, "mass"),
    "lusitano": ("art_music", "Vicente Lusitano", "italy", 16, "madrigal"),
    "schoenberg": ("art_music", "Arnold Schoenberg", "austria", 20, "piano_piece"),
    "schubert": ("art_music", "Franz Schubert", "austria", 19, "art_song"),
    "schumann_clara": ("art_music", "Clara Schumann", "germany", 19, "piano_piece"),
    "schumann_robert": ("art_music", "Robert Schumann", "germany", 19, "art_song"),
    "verdi": ("art_music", "Giuseppe Verdi", "italy", 19, "aria"),
    "weber": ("art_music", "Carl Maria von Weber", "germany", 19, "concerto"),
    "webern": ("art_music", "Anton Webern", "austria", 20, "string_quartet"),
}
# folder or file of ABC: (collection, composer, region, century, form)
TUNES: dict[str, tuple[str, str, str, int, str]] = {
    "essenFolksong": ("essen_europe", "", "germany", 19, "folk_song"),
    "ryansMammoth": ("ryan", "", "america", 19, "dance"),
    "oneills1850": ("oneill", "", "ireland", 19, "dance"),
    "airdsAirs": ("aird", "", "scotland", 18, "air"),
    "miscFolk/northumbrianminstrelsyopus": ("misc_folk", "", "england", 19, "air"),
    "miscFolk/americanfifeopus": ("misc_folk", "", "america", 18, "march"),
    "nottingham-dataset": ("misc_folk", "", "england", 20, "dance"),
    "josquin": ("art_music", "Josquin des Prez", "france", 16, "chanson"),
}


@dataclass
class Source:
    """One piece before conversion.

    ``kind`` is ``abc`` (then ``text`` is the tune), ``kern``, ``musicxml`` or ``midi`` (then ``path`` is read);
    ``tonic``/``mode`` hold the key that the header states; pieces with a ``group`` in common are one work; ``tags`` are
    other facts of headers, such as ``scoring:organ``.
    """

    id: str
    collection: str
    kind: str
    path: str
    text: str = ""
    title: str = ""
    composer: str = ""
    region: str = ""
    century: int = 0
    form: str = ""
    tonic: int | None = None
    mode: str | None = None
    groups: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)


def corpus_root() -> Path:
    """Return the folder of music21's corpus; the package is found, not imported."""
    from importlib.util import find_spec

    from clamp3.errors import ConfigError

    spec = find_spec("music21")
    if spec is None or spec.origin is None:
        raise ConfigError("music21 is not installed; the recipe needs its corpus (pip install music21).")
    return Path(spec.origin).parent / "corpus"


def list_works(root: Path, lieder: Path | None = None) -> list[Source]:
    """List every piece of the corpus, sorted by id.

    Parameters
    ----------
    root : Path
        music21's corpus folder, see `corpus_root`.
    lieder : Path, optional
        OpenScore Lieder (``scores.tsv``, ``composers.tsv``, ``scores/…/lc*.mxl``) as further pieces.
    """
    works = [*_tunes(root), *_masses(root), *_scores(root)]
    if lieder is not None:
        for work in openscore(lieder, lieder, "lieder", "lc"):
            work.collection, work.form, work.region = "lieder", "art_song", work.region or "europe"
            work.groups = [work.id.replace("-", ":")]
            works.append(work)
    return sorted(works, key=lambda work: work.id)


def slug(text: str) -> str:
    """Return ASCII lower-case words joined by dashes, safe as a file name."""
    from unidecode import unidecode

    return re.sub(r"[^a-z0-9]+", "-", unidecode(text).lower()).strip("-")


def fields(tune: str) -> dict[str, list[str]]:
    """Return an ABC tune's information fields up to and including ``K:``."""
    found: dict[str, list[str]] = {}
    for line in tune.splitlines():
        if re.match(r"[A-Za-z]:", line):
            found.setdefault(line[0], []).append(line[2:].split("%")[0].strip())
            if line[0] == "K":
                break
    return found


def first_of(pairs: tuple[tuple[str, str], ...], text: str, default: str = "", flags: int = 0) -> str:
    """Return the name beside the first pattern that is in a text.

    Parameters
    ----------
    pairs : tuple of (pattern, name)
    text, default : str
    flags : int
        Of the patterns.
    """
    return next((name for pattern, name in pairs if re.search(pattern, text, flags)), default)


def _key(text: str) -> tuple[int | None, str | None]:
    match = re.match(r"([A-G])([#b]?)\s*([A-Za-z]*)", text)
    if not match:
        return None, None
    tonic = (PITCH_CLASS[match[1]] + {"#": 1, "b": -1, "": 0}[match[2]]) % 12
    return tonic, MODES.get(match[3].lower()[: 1 if match[3].lower() == "m" else 3])


def plain_title(text: str) -> str:
    """Return a tune title without its kind ("-- JIG"), "The" at either end, and in mixed case."""
    text = re.sub(r"\s+--?\s+[A-Za-z ]+$", "", text.strip().rstrip("."))
    text = re.sub(r"^(.*), (The|A)$", r"\2 \1", text)
    return text.title().replace("'S", "'s") if text.isupper() else text


def _tunes(root: Path) -> Iterator[Source]:
    for folder, (collection, composer, region, century, form) in TUNES.items():
        found = sorted((root / folder).glob("*.abc")) if (root / folder).is_dir() else [root / f"{folder}.abc"]
        for path in found:
            if folder == "essenFolksong" and re.match(r"test|variant", path.stem):
                continue  # format samples that repeat songs of the other files
            text = path.read_bytes().decode("utf-8", "replace")
            tunes = re.split(r"(?m)^X:", text)[1:]
            for index, part in enumerate(tunes):
                tune = "X:" + part.strip() + "\n"
                head = fields(tune)
                if "K" not in head:
                    continue
                name = (
                    f"{slug(collection)}-{slug(path.stem)}-{index:03d}"
                    if len(tunes) > 1
                    else f"{slug(collection)}-{slug(path.stem)}"
                )
                work = Source(name, collection, "abc", path.relative_to(root).as_posix(), tune)
                work.composer, work.region, work.century, work.form = composer, region, century, form
                work.title = plain_title((head.get("T") or [path.stem])[0])
                work.tonic, work.mode = _key(head["K"][0])
                _tell(work, head)
                yield work


def _tell(work: Source, head: dict[str, list[str]]) -> None:
    # What differs by collection: origin, kind of tune, and which tunes are versions of one work.
    title, rhythm = slug(work.title), " ".join(head.get("R", []))
    if work.collection == "essen_europe":
        work.region = first_of(ESSEN_REGIONS, " ".join(head.get("O", [])), "germany")
        work.form = first_of(ESSEN_FORMS, rhythm, "folk_song")
        number = re.match(r"([A-Z]+\d+)[A-Z]?\b", (head.get("N") or [""])[0])
        work.groups = [f"essen:{number[1]}"] if number else []
        work.groups.append(f"essen-title:{title}")
        work.mode = None  # the source gives a tonic and no mode; it is estimated from the notes
        if work.region == "china":
            work.collection, work.century = "essen_china", 20
    elif work.collection in ("ryan", "oneill", "aird", "misc_folk"):
        name = (head.get("T") or [""])[0]
        if work.collection == "oneill":
            number = re.match(r"0*(\d+)", head.get("X", ["0"])[0])
            number_value = int(number[1]) if number else 0
            work.form = next((kind for last, kind in ONEILL_FORMS if number_value <= last), "dance")
        work.form = first_of(DANCES, f"{rhythm} {name}", work.form, re.IGNORECASE)
        work.groups = [f"tune:{title.removeprefix('the-')}"]
    elif "josquin" in work.path:
        work.groups = [f"josquin:{work.path}"]


def _masses(root: Path) -> Iterator[Source]:
    taken: Counter[str] = Counter()
    for work in sorted(_movements(root), key=lambda work: hashlib.sha256(work.id.encode()).hexdigest()):
        taken[work.groups[0]] += 1
        if taken[work.groups[0]] <= MOVEMENTS_PER_MASS:
            yield work


def _movements(root: Path) -> Iterator[Source]:
    for path in sorted((root / "palestrina").glob("*.krn")):
        text = path.read_bytes().decode("utf-8", "replace")
        mass = re.search(r"^!!!OPR: *(.*)$", text, re.MULTILINE)
        name = mass[1].strip() if mass else "Missa"
        movement = path.stem.split("_")[0]
        work = Source(f"palestrina-{slug(path.stem)}", "palestrina", "kern", path.relative_to(root).as_posix())
        work.title = f"{name}: {movement}"
        work.composer, work.region, work.century = "Giovanni Pierluigi da Palestrina", "italy", 16
        work.form = (
            f"mass_{movement.lower()}"
            if movement in ("Kyrie", "Gloria", "Credo", "Sanctus", "Benedictus", "Agnus")
            else "mass"
        )
        # All movements of a mass share themes, so the whole mass is one work.
        work.groups = [f"palestrina:{slug(name)}" if mass else f"palestrina:{path.stem}"]
        yield work


def _scores(root: Path) -> Iterator[Source]:
    for folder, (collection, composer, region, century, form) in SCORES.items():
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in (".xml", ".mxl", ".musicxml", ".krn"):
                continue
            inner = path.relative_to(root / folder).with_suffix("").as_posix()
            kind = "kern" if path.suffix == ".krn" else "musicxml"
            work = Source(f"{slug(folder)}-{slug(path.relative_to(root / folder).as_posix())}", collection, kind,
                          path.relative_to(root).as_posix())  # fmt: skip
            work.composer, work.region, work.century, work.form = composer, region, century, form
            work.title = inner.replace("/", " ").replace("_", " ")
            work.groups = [f"{folder}:{inner}"]
            _place(work, folder, inner)
            yield work


def _place(work: Source, folder: str, inner: str) -> None:
    # Names of files that hold more than the name of their folder.
    if folder == "bach":
        number = re.match(r"bwv(\d+)", inner)
        work.groups = [f"bach:{number[1]}" if number else f"bach:{inner}"]
        work.title = f"BWV {inner[3:]}" if number else inner
    elif folder == "monteverdi":
        book, _, place = inner.removeprefix("madrigal.").removesuffix("_old").partition(".")
        work.groups = [f"monteverdi:{book}.{place}"]
        work.title = f"Madrigal {place} of book {book}"
    elif folder == "trecento":
        work.composer = next((name for key, name in TRECENTO_COMPOSERS.items() if key in inner), "")
        sacred = re.search(r"Kyrie|Gloria|Credo|Sanctus|Agnus|Benedicamus", inner)
        work.form = "mass" if sacred else work.form
        work.title = re.sub(r"^(PMFC|Fava)[_ \d-]*[ab]?-?", "", inner).replace("_", " ").strip()
    elif inner.startswith("k545"):
        work.collection, work.form = "art_music", "sonata"
    elif "opus41" in inner:
        work.collection, work.form = "string_quartet", "string_quartet"
    elif "opus17" in inner:
        work.form = "piano_trio"
    elif "dichterliebe" in inner or "opus48" in inner:
        work.groups = ["schumann:dichterliebe-2"]
    if folder in ("beethoven", "haydn", "mozart") and "/" in inner:
        # Movements of one quartet stay together, like the sections of a mass.
        work.groups = [f"{folder}:{inner.split('/')[0]}"]


def openscore(root: Path, tables: Path, name: str, prefix: str) -> Iterator[Source]:
    """Yield the scores of a corpus of OpenScore, without collection and form.

    Parameters
    ----------
    root, tables : Path
        Folder that has ``scores/COMPOSER/…/lc*.mxl`` in it, and that of ``scores.tsv`` and ``composers.tsv``.
    name, prefix : str
        What ids and the names of files begin with.
    """
    people = {row["path"]: row for row in read_csv(tables / "composers.tsv")}
    titles = {row["id"]: row["name"] for row in read_csv(tables / "scores.tsv")}
    for path in sorted((root / "scores").rglob(f"{prefix}*.mxl")):
        number, person = path.stem.removeprefix(prefix), people.get(path.relative_to(root / "scores").parts[0], {})
        work = Source(f"{name}-{number}", "", "musicxml", str(path.resolve()))
        work.title = titles.get(number, path.parent.name.replace("_", " "))
        work.composer, born = person.get("name") or "", person.get("born") or ""
        # A composer's works come mostly from after the thirtieth year.
        work.century = (int(born) + 30) // 100 + 1 if born.isdigit() else 19
        work.region = first_of(COMPOSER_REGIONS, person.get("desc") or "")
        yield work
