"""ABC notation: between the standard form, the interleaved form that the models read, and MusicXML.

===============  =====================================================================================
dialect.py       which form a text has
standard.py      ABC as people write it → the standard form: one tune, ``V:n`` blocks, unit length 1/8
bars.py          standard form → voices and bars
lengths.py       how long a bar lasts
interleave.py    any ABC → interleaved ABC: one bar of every voice per line
to_musicxml.py   any ABC → MusicXML
abc2xml.py       the converter behind to_musicxml.py, one private copy per thread
first_letters.py makes its grammar try only what can begin with the next letter
===============  =====================================================================================
"""
