"""Sentence patterns of the records: per language and field, lines, each with its alternative phrasings.

The braces are filled from `recipes.mini.records.words_of`. ``{a_…}`` carries the indefinite article.
"""

from __future__ import annotations

TEMPLATES: dict[str, dict[str, tuple[tuple[str, ...], ...]]] = {
    "en": {
        "analysis": (
            (
                "{key}, {metre} time, {bars} bars",
                "in {key} and {metre} time, {bars} bars long",
                "{bars} bars of {metre} in {key}",
            ),
            ("range {low} to {high}, {texture}", "from {low} up to {high}, {texture}"),
            ("opens with {opening}", "begins {opening}"),
            ("first steps: {contour}; ends on {last}",),
            ("largest leap: {leap}; {steps} percent stepwise; shortest values: {shortest}",),
        ),
        "background": (
            ("from {collection}", "{a_noun} from {collection}"),
            ("music of the {century} century from {country}", "{country}, {century} century"),
            ("{label}", "{label} in {key}", "{label}, {century} century"),
        ),
        "description": (
            ("{a_pace} {origin} {noun} in {key}", "{a_origin} {noun} in {key}", "{a_pace} {noun} in {key}"),
            ("{a_mood} {noun} in {metre}", "{a_noun} in {metre} time", "{mood} and {pace} music in {metre}"),
            ("{a_noun} for {scoring}", "{origin} music for {scoring}", "{noun} from {country}"),
            ("{pace} music", "{mood} music", "{origin} music", "music in {metre}", "{mood} and {pace}"),
        ),
        "scene": (("{scene}", "{pace} music {scene}", "{a_mood} {noun} {scene}"),),
    },
    "de": {
        "analysis": (
            ("{key}, {metre}-Takt, {bars} Takte", "in {key} im {metre}-Takt, {bars} Takte lang"),
            ("Umfang {low} bis {high}, {texture}", "von {low} bis {high}, {texture}"),
            ("beginnt mit {opening}", "Anfang: {opening}"),
            ("erste Schritte: {contour}; endet auf {last}",),
            ("größter Sprung: {leap}; {steps} Prozent Schritte; kürzeste Werte: {shortest}",),
        ),
        "background": (
            ("aus {collection}", "{a_noun} aus {collection}"),
            ("Musik des {century} Jahrhunderts, {country}", "{country}, {century} Jahrhundert"),
            ("{label}", "{label} in {key}", "{label}, {century} Jahrhundert"),
        ),
        "description": (
            ("{a_pace} {noun} in {key}", "{a_origin} {noun} in {key}", "{a_pace}, {mood} {noun} in {key}"),
            (
                "{a_mood} {noun} im {metre}-Takt",
                "{a_noun} im {metre}-Takt",
                "{music_mood} und {music_pace} Musik im {metre}-Takt",
            ),
            ("{a_noun} für {scoring}", "{music_origin} Musik für {scoring}", "{a_origin} {noun}"),
            ("{music_pace} Musik", "{music_mood} Musik", "{music_origin} Musik", "Musik im {metre}-Takt"),
        ),
        "scene": (("{scene}", "{music_pace} Musik {scene}", "{a_mood} {noun} {scene}"),),
    },
    "fr": {
        "analysis": (
            ("{key}, mesure à {metre}, {bars} mesures", "en {key}, à {metre}, {bars} mesures"),
            ("ambitus de {low} à {high}, {texture}", "de {low} à {high}, {texture}"),
            ("commence par {opening}", "début : {opening}"),
            ("premiers pas : {contour} ; finit sur {last}",),
            (
                "plus grand saut : {leap} ; {steps} pour cent de degrés conjoints ; "
                "valeurs les plus brèves : {shortest}",
            ),
        ),
        "background": (
            ("dans {collection}", "{a_noun} dans {collection}"),
            ("musique {country}, {century} siècle", "{century} siècle, musique {country}"),
            ("{label}", "{label} en {key}", "{label}, {century} siècle"),
        ),
        "description": (
            ("{a_noun} {pace} en {key}", "{a_noun} {origin} en {key}", "{a_noun} {origin} {pace} en {key}"),
            ("{a_noun} {mood} à {metre}", "{a_noun} à {metre}", "musique {music_mood} et {music_pace} à {metre}"),
            ("{a_noun} pour {scoring}", "musique {music_origin} pour {scoring}", "{a_noun} {country}"),
            ("musique {music_pace}", "musique {music_mood}", "musique {music_origin}", "musique à {metre}"),
        ),
        "scene": (("{scene}", "musique {music_pace} {scene}", "{a_noun} {mood} {scene}"),),
    },
    "es": {
        "analysis": (
            ("{key}, compás de {metre}, {bars} compases", "en {key} y {metre}, {bars} compases"),
            ("ámbito de {low} a {high}, {texture}", "de {low} a {high}, {texture}"),
            ("empieza con {opening}", "comienzo: {opening}"),
            ("primeros pasos: {contour}; termina en {last}",),
            ("salto mayor: {leap}; {steps} por ciento por grados conjuntos; valores más breves: {shortest}",),
        ),
        "background": (
            ("de {collection}", "{a_noun} de {collection}"),
            ("música del siglo {century} de {country}", "{country}, siglo {century}"),
            ("{label}", "{label} en {key}", "{label}, siglo {century}"),
        ),
        "description": (
            ("{a_noun} {pace} en {key}", "{a_noun} {origin} en {key}", "{a_noun} {origin} {pace} en {key}"),
            (
                "{a_noun} {mood} en compás de {metre}",
                "{a_noun} en {metre}",
                "música {music_mood} y {music_pace} en {metre}",
            ),
            ("{a_noun} para {scoring}", "música {music_origin} para {scoring}", "{a_noun} de {country}"),
            ("música {music_pace}", "música {music_mood}", "música {music_origin}", "música en {metre}"),
        ),
        "scene": (("{scene}", "música {music_pace} {scene}", "{a_noun} {mood} {scene}"),),
    },
    "zh": {
        "analysis": (
            ("{key}，{metre}拍，共{bars}小节", "{bars}小节，{metre}拍，{key}"),
            ("音域从{low}到{high}，{texture}", "{low}到{high}，{texture}"),
            ("以 {opening} 开始", "开头是 {opening}"),
            ("开头走向：{contour}；结束于{last}",),
            ("最大跳进：{leap}；级进占百分之{steps}；最短音符：{shortest}",),
        ),
        "background": (
            ("出自{collection}", "{collection}中的{noun}"),
            ("{century}世纪的{country}音乐", "{country}，{century}世纪"),
            ("{label}", "{label}，{key}", "{label}，{century}世纪"),
        ),
        "description": (
            ("{pace}的{origin}{noun}，{key}", "{origin}{noun}，{key}", "{key}的{pace}{noun}"),
            ("{mood}的{noun}，{metre}拍", "{metre}拍的{noun}", "{mood}而{pace}的音乐，{metre}拍"),
            ("为{scoring}而作的{noun}", "{origin}的{scoring}音乐", "来自{country}的{noun}"),
            ("{pace}的音乐", "{mood}的音乐", "{origin}音乐", "{metre}拍的音乐"),
        ),
        "scene": (("{scene}", "{scene}的{pace}音乐", "{scene}的{mood}{noun}"),),
    },
}

TEXTURES = {
    "en": ("a single melody line", "{} voices"),
    "de": ("einstimmig", "{} Stimmen"),
    "fr": ("une seule ligne mélodique", "{} voix"),
    "es": ("una sola línea melódica", "{} voces"),
    "zh": ("单旋律", "{}个声部"),
}
PICK_UPS = {
    "en": "starts with a pick-up",
    "de": "mit Auftakt",
    "fr": "commence par une levée",
    "es": "empieza con anacrusa",
    "zh": "弱起小节开始",
}
# Where a piece has no time signature, in place of phrasings that would name it.
UNMEASURED = {
    "en": "{key}, no fixed metre, {bars} bars",
    "de": "{key}, ohne feste Taktart, {bars} Takte",
    "fr": "{key}, sans mesure fixe, {bars} mesures",
    "es": "{key}, sin compás fijo, {bars} compases",
    "zh": "{key}，无固定拍号，{bars}小节",
}
