"""List the collections that are no part of music21: kern, MusicXML and MIDI in folders beside each other.

python code/recipes/mini/wider.py COLLECTIONS OUT_DIR
python code/recipes/mini/wider.py COLLECTIONS OUT_DIR --vgmidi VGMIDI --part outside

COLLECTIONS has the unpacked archives: pl-*/kern, d-*/kern and s-uu/kern (Polish scores, polishscores.org),
chopin_first_editions/kern, openscore_quartets, openewld, piano_midi_de, freedoom_midi and mutopia (what mutopia.py
wrote); what is absent is left out.
OUT_DIR gets pieces/ and pieces.jsonl as build_data.py writes them, here with the facts of headers as ``tags``.

Outside, and never trained on, are whole collections: the library of Sandomierz (pl-sa), the lead sheets of half of
OpenEWLD's composers, the performed piano and the game music. A composer is outside if a hash of the name says so.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run
from clamp3.formats.tables import read_csv
from recipes.mini.works import COMPOSER_REGIONS, MODES, PITCH_CLASS, Source, first_of, openscore, slug

OUTSIDE_LIBRARY = "pl-sa"
OUTSIDE = frozenset({"sandomierz", "leadsheets", "piano_performed", "game_music"})
PARTS = ("outside", "training", "all")
# What a title or a genre says, by the first pattern that fits; the languages are those of the collections.
FORMS = (
    (r"mazur", "mazurka"), (r"polon[ea][sz]|polonoi", "polonaise"), (r"krakowia[ck]|cracovienne", "krakowiak"),
    (r"\b(walc|valtz|valc|walcz|walzer|waltz|valse)", "waltz"), (r"men[ui]et|minuet", "minuet"),
    (r"\bpolka", "polka"), (r"\b(marsz|marche?|marcia|marsch)\b", "march"), (r"galop", "galop"),
    (r"[kc]ontre?[td]an[csz]|contradance|anglaise|ecossaise|quadrille|cotillion", "contredanse"),
    (r"kujawiak", "kujawiak"), (r"oberek", "oberek"), (r"tarant", "tarantella"), (r"\bgavott", "gavotte"),
    (r"\btango", "tango"), (r"dumka", "dumka"), (r"no[ck]turn", "nocturne"),
    (r"pr[ae]+l?u[ld]|preamb|prelude", "prelude"),
    (r"\b[eé]t[iu]u?d|\bexerci", "etude"), (r"scherz", "scherzo"), (r"\bimpromptu", "impromptu"),
    (r"\bfug[auh]", "fugue"), (r"sonat", "sonata"), (r"\brond", "rondo"), (r"wariac|variat", "variations"),
    (r"fanta[sz]", "fantasia"), (r"toccata", "toccata"), (r"partita", "suite"), (r"\bsuite?\b", "suite"),
    (r"requiem|dies irae", "requiem"), (r"kyrie|gloria|\bcredo|sanctus|agnus|benedictus|\bmis+a|\bmass\b|qui tollis",
    "mass"), (r"vesper|dixit dominus|magnificat|laudate|confitebor|beatus vir|laetatus", "vespers"),
    (r"litan", "litany"), (r"motet", "motet"), (r"christmas|kol[eę]da|pastoral|pastora[łl]ka|pastuszk", "carol"),
    (r"psalm", "psalm"), (r"hymn", "hymn"), (r"cho?r[ao][łl]", "chorale"), (r"berceuse|ko[łl]ysank", "lullaby"),
    (r"barcarol", "barcarolle"), (r"ballad", "ballade"), (r"roman[csz]", "romance"), (r"madrigal", "madrigal"),
    (r"\bopera", "opera"), (r"children|dla dzieci", "children"), (r"\baria", "aria"), (r"\brag", "ragtime"),
    (r"piosn|pie[śs][nń]|song|lied|[śs]piew", "art_song"),
)  # fmt: skip
VOICES = {"soprn", "alto", "tenor", "bass", "canto", "vox", "barit", "mezzo"}
STRINGS = {"violn", "viola", "cello", "cbass", "viols", "violone"}
# Folders of the Mutopia Project; pieces of other composers are left without a name.
MUTOPIA = {
    "BachJS": "Johann Sebastian Bach", "BeethovenLv": "Ludwig van Beethoven", "BrahmsJ": "Johannes Brahms",
    "BurgmullerJFF": "Friedrich Burgmüller", "ChopinFF": "Frédéric Chopin", "ClementiM": "Muzio Clementi",
    "CzernyC": "Carl Czerny", "DebussyC": "Claude Debussy", "GriegE": "Edvard Grieg",
    "HandelGF": "George Frideric Handel", "HaydnFJ": "Joseph Haydn", "JoplinS": "Scott Joplin",
    "LisztF": "Franz Liszt", "Mendelssohn-BartholdyF": "Felix Mendelssohn Bartholdy",
    "MozartWA": "Wolfgang Amadeus Mozart", "MussorgskyM": "Modest Mussorgsky", "RachmaninoffS": "Sergei Rachmaninoff",
    "SatieE": "Erik Satie", "SchubertF": "Franz Schubert", "SchumannR": "Robert Schumann",
    "ScriabinA": "Alexander Scriabin", "TchaikovskyPI": "Pyotr Ilyich Tchaikovsky",
}  # fmt: skip
CENTURY_OF_PIANO = {"Haydn": 18, "Mozart": 18, "Bach": 18, "Clementi": 18, "Albeniz": 19, "Debussy": 20, "Ravel": 20}


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("collections", type=Path, help="folder of the unpacked archives")
    parser.add_argument("out_dir", type=Path, help="folder to write to")
    parser.add_argument("--vgmidi", type=Path, help="VGMIDI, labelled game music as MIDI")
    parser.add_argument("--part", choices=PARTS, default="all", help="which collections (default: all)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="take only every n-th piece so that about this many are left")
    return parser


def list_wider(root: Path, vgmidi: Path | None = None, part: str = "all") -> list[Source]:
    """List the pieces of every collection that is there, sorted by id.

    Parameters
    ----------
    root : Path
        Folder of the unpacked archives.
    vgmidi : Path, optional
        Folder of VGMIDI.
    part : {"all", "outside", "training"}
        Whether the collections held out whole are wanted, the others, or both.
    """
    found = [*_kern(root), *_quartets(root), *_lead_sheets(root), *_performed(root), *_games(root, vgmidi)]
    found += _mutopia(root)
    wanted = {"all": (True, False), "outside": (True,), "training": (False,)}[part]
    return sorted((work for work in found if (work.collection in OUTSIDE) in wanted), key=lambda work: work.id)


def form_of(text: str) -> str:
    """Return the form that a title or genre names, "" if none.

    Examples
    --------
    >>> form_of("Menuet z wariacjami"), form_of("Valse brillante"), form_of("Adagio")
    ('minuet', 'waltz', '')
    """
    return first_of(FORMS, text, flags=re.IGNORECASE)


def scoring_of(instruments: str) -> str:
    """Return who plays or sings, from kern's instrument codes such as ``1 alto 1 bass 1 organ``; "" if unknown."""
    codes = set(re.findall(r"[a-z]+", instruments)) - {"empty"}
    keys, voices = codes & {"piano", "forte", "clavi", "cemba"}, codes & VOICES
    if codes and codes <= VOICES:
        return "voice" if len(codes) == 1 else "choir"
    if voices and codes - VOICES <= {"piano", "forte"} and len(voices) == 1:
        return "voice_piano"
    if voices:
        return "choir_organ" if codes - VOICES == {"organ"} else "choir_orchestra"
    if codes == {"organ"}:
        return "organ"
    if keys and codes == keys:
        return "piano"
    if codes and codes <= STRINGS:
        return "strings"
    return "orchestra" if len(codes) > 2 else "instruments" if codes else ""


def _head(text: str) -> dict[str, str]:
    # The first of every reference record; !!!COM: is the composer, !!!OTL: the title.
    found: dict[str, str] = {}
    for name, value in re.findall(r"^!!!([A-Za-z-]+): *(.*)$", text, re.MULTILINE):
        found.setdefault(name, value.strip())
    return found


def _kern(root: Path) -> Iterator[Source]:
    folders = sorted(path for path in root.glob("*") if (path / "kern").is_dir())
    for path in (path for folder in folders for path in sorted((folder / "kern").glob("*.krn"))):
        text = path.read_bytes().decode("utf-8", "replace")
        head = _head(text)
        library, chopin = path.parent.parent.name, path.parent.parent.name == "chopin_first_editions"
        collection = "chopin" if chopin else "sandomierz" if library == OUTSIDE_LIBRARY else "polish"
        work = Source(f"{collection}-{slug(path.stem)}", collection, "kern", str(path.resolve()))
        names = f"{head.get('AGN', '')} {head.get('OTL', '')} {head.get('OPR', '')} {path.stem.replace('-', ' ')}"
        work.title = head.get("OTL", "") or path.stem
        work.composer = plain_name(head.get("COM", ""))
        work.form = form_of(head.get("AGN", "")) or form_of(names)
        work.century = _century(head, chopin)
        nation = head.get("CNT", "").split(";")[0]
        work.region = "poland" if chopin else first_of(COMPOSER_REGIONS, nation)
        key = re.search(r"^\*([A-Ga-g])([#-]?):", text, re.MULTILINE)
        if key:
            work.tonic = (PITCH_CLASS[key[1].upper()] + {"#": 1, "-": -1, "": 0}[key[2]]) % 12
            work.mode = MODES["m" if key[1].islower() else ""]
        scoring = "piano" if chopin else scoring_of(head.get("AIN", ""))
        marking = (head.get("OMD") or head.get("OMD-mod") or "").lower()
        kind = next((name for name in ("sacred", "secular") if name in head.get("AGN", "").lower()), "")
        work.tags = [f"scoring:{scoring}"] * bool(scoring) + [f"kind:{kind}"] * bool(kind)
        work.tags += [f"marking:{marking}"] * bool(marking)
        source = re.sub(r"--\d{3}-\d{3}.*|_.*", "", path.stem)
        # All of one opus are one work: the same pieces stand among the performances.
        opus = re.match(r"(\d{3})-", path.stem)
        work.groups = [f"chopin:op{opus[1]}" if opus else f"chopin:{path.stem[:5]}"] if chopin else [f"kern:{source}"]
        if work.composer:
            work.groups.append(f"{slug(work.composer)}:{slug(work.title)}")
        yield work


def plain_name(name: str) -> str:
    """Return "Fryderyk Chopin" for "Chopin, Fryderyk", and "" for anonymous ones."""
    name = re.sub(r"^(.*?), *(.*)$", r"\2 \1", name.split(";")[0].strip()).replace("Fryderyk", "Frédéric")
    return "" if re.match(r"anon", name, re.IGNORECASE) else name


def _century(head: dict[str, str], chopin: bool) -> int:
    if chopin:
        return 19
    number = re.match(r"(\d\d)xx", head.get("cenid", ""))
    return int(number[1]) + 1 if number else 0


def _quartets(root: Path) -> Iterator[Source]:
    folder = root / "openscore_quartets"
    if not folder.is_dir():
        return
    for work in openscore(folder, folder / "data", "quartet", "sq"):
        work.collection, work.form, work.tags = folder.name, "string_quartet", ["scoring:quartet", "kind:secular"]
        work.groups = [f"{slug(work.composer)}:{slug(work.title)}"]
        yield work


def _lead_sheets(root: Path) -> Iterator[Source]:
    folder = root / "openewld"
    if not folder.is_dir():
        return
    with sqlite3.connect(f"file:{folder / 'OpenEWLD.db'}?mode=ro", uri=True) as base:
        works = base.execute("SELECT id, title, first_performance_date, path_leadsheet FROM works").fetchall()
        by_work: dict[int, list[str]] = {}
        for number, author in base.execute("SELECT id, author FROM work_author ORDER BY id, author"):
            by_work.setdefault(number, []).append(str(author))
        named: dict[int, list[str]] = {}
        for query in ("SELECT id, genre FROM work_genres ORDER BY id, occurrences DESC, genre",
                      "SELECT id, style FROM work_style ORDER BY id, occurrences DESC, style"):  # fmt: skip
            for number, name in base.execute(query):
                named.setdefault(number, []).append(str(name))
    for number, title, date, path in works:
        people = by_work.get(number, [])
        outside = is_outside(people[0]) if people else True
        work = Source(f"leadsheet-{number}", "leadsheets" if outside else "leadsheets_training", "musicxml",
                      str((folder / path).resolve()))  # fmt: skip
        work.title, work.composer, work.region = str(title), " and ".join(people).strip("[]"), "america"
        work.century = int(str(date)[:2]) + 1 if re.match(r"1[789]", str(date or "")) else 20
        work.form = form_of(f"{title} {' '.join(named.get(number, []))}") or "song"
        work.tags = ["scoring:lead_sheet", "kind:secular", *(f"genre:{slug(n)}" for n in named.get(number, [])[:3])]
        work.groups = [f"tune:{slug(str(title)).removeprefix('the-')}"]
        yield work


def is_outside(name: str) -> bool:
    """Return whether the lead sheets of a composer are held out: those of half of them, by a hash of the name."""
    return hashlib.sha256(f"outside {name}".encode()).digest()[0] < 128


def _performed(root: Path) -> Iterator[Source]:
    folder = root / "piano_midi_de"
    if not folder.is_dir():
        return
    for row in read_csv(folder / "metadata.csv"):
        work = Source(f"piano-{slug(row['midi'])}", "piano_performed", "midi", str((folder / row["midi"]).resolve()))
        work.title, work.composer = row["title"].replace("_", " "), row["composer"]
        work.form, work.century = form_of(work.title), CENTURY_OF_PIANO.get(row["composer"], 19)
        work.tags, work.groups = ["scoring:piano", "kind:secular"], [f"{slug(row['composer'])}:{slug(row['title'])}"]
        work.groups += [f"{slug(row['composer'])}:{number}" for number in catalogue_numbers(work.title)]
        yield work


def _mutopia(root: Path) -> Iterator[Source]:
    folder = root / "mutopia"
    for row in read_csv(folder / "metadata.tsv") if (folder / "metadata.tsv").is_file() else []:
        name = Path(row["midi"]).stem
        work = Source(f"mutopia-{slug(name)}", "mutopia", "midi", str((folder / row["midi"]).resolve()))
        work.title, work.composer = row["title"], MUTOPIA.get(row["composer"], "")
        work.form = form_of(f"{row['title']} {row['style']}")
        # The last word of a name, the opus and the catalogue number are what piano-midi.de has in its titles.
        person = slug(work.composer.split()[-1]) if work.composer else ""
        numbers = catalogue_numbers(f"{row['opus']} {row['title']}")
        work.tags = ["scoring:piano", "kind:secular"]
        work.groups = [f"mutopia:{slug(name)}", *(f"{person}:{number}" for number in numbers if person)]
        yield work


def catalogue_numbers(text: str) -> list[str]:
    """Return the opus and catalogue numbers that a title names, written one way.

    Examples
    --------
    >>> catalogue_numbers("Sonata Opus 27 No. 2"), catalogue_numbers("K. 331"), catalogue_numbers("BWV 846, KV 1")
    (['op027'], ['k331'], ['bwv846', 'k001'])
    """
    found = re.findall(r"\b(opus|op|kv|k|d|bwv|hob)\.? ?(\d+)", text, re.IGNORECASE)
    names = {"opus": "op", "kv": "k"}
    return [f"{names.get(name.lower(), name.lower())}{int(number):03d}" for name, number in found]


def _games(root: Path, vgmidi: Path | None) -> Iterator[Source]:
    found = sorted((root / "freedoom_midi").rglob("*.mid"))
    if vgmidi is not None:
        found += sorted((vgmidi / "labelled" / "midi").rglob("*.mid"))
    for path in found:
        work = Source(f"game-{slug(path.stem)}", "game_music", "midi", str(path.resolve()))
        work.title, work.century, work.form = path.stem, 20, "game"
        work.tags, work.groups = ["kind:secular"], [f"game:{slug(path.stem)}"]
        if vgmidi is not None and path.is_relative_to(vgmidi):
            work.tags.append("scoring:piano")
        yield work


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from clamp3.errors import DataError
    from recipes.mini.build_data import convert_all

    args = build_parser().parse_args(argv)
    works = list_wider(args.collections, args.vgmidi, args.part)
    if not works:
        raise DataError(f"{args.collections} has no collection of --part {args.part}; unpack the archives there.")
    if args.limit:
        works = works[:: max(1, len(works) // args.limit)]
    rows, failed = convert_all(works, Path("/"), args.out_dir, args.workers)
    for name, number in sorted(Counter(row["collection"] for row in rows).items()):
        print(f"{name}: {number}")
    for error, number in failed.most_common(10):
        print(f"failed {number}: {error}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
