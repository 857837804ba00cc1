"""The words of the synthetic corpus: English general words and made-up scientific terms.

The words are the same for every seed and every setting, so one tokenizer fits every synthetic corpus and a
slice has the same number of tokens whatever the checkpoint's geometry.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain

TERM_COUNT = 16_384
# Frequent terms that a tokenizer knows whole. With the default corpus this gives 1.3 word pieces a word.
WHOLE_TERM_COUNT = 512

# General words, the most frequent first (the order of English scientific text, roughly).
_GENERAL_WORDS = """
the of and in to a with for that was is were by as from at on this are be or an which not have these been
than we had has it between also both may but all after other using their can more two there during no
when its results cells data study one observed however only each increased most shown used into first
three our such high levels expression effect effects group significantly analysis function activity
compared control while through different some low similar those groups showed found human well specific
same number present further treatment because level response previous whether could either although time
before would normal cell protein gene proteins genes higher studies increase suggest under reported type
rate change role based several here lower long following respectively whereas presence method changes
then single patients values model development least within associated total about over will did against
many site acid early region factor addition due factors cases large set second system therefore per mean
important binding major test samples small growth related relative conditions process four various
possible indicate contrast primary population being thus evidence according samples methods mice
determined days decrease involved strong any since among even four obtained does identified how decreased
order potential so evaluated direct positive case very they age less form them complex suggesting
differences subjects provide result without available induced risk performed structure known given
ability activation significant structural mechanism tissue local independent molecular average surface
rapid measured target tested sample common initial particular distribution influence negative additional
free rates upper reduced blood state pattern natural standard ratio value range part water line area body
side year years week weeks month months day hour hours minutes figure table section example new good five
six seven eight ten half double once again still yet nearly often always never rather quite almost likely
unlikely clear clearly simple simply recent recently current currently general generally main mainly key
central final later late short wide open full own must should might shall cannot where who whose what why
upon across along around below above near toward towards until unless except despite instead besides
moreover furthermore consequently hence nevertheless meanwhile finally initially previously subsequently
together alone apart up down out off back away forward left right show shows suggests indicates describe
described examine examined investigate investigated compare comparison measure measures estimate
estimated require required allow allowed produce produced remain remained occur occurred contain
contained consist support supported confirm confirmed consider considered include including included
follow followed represent represents depend depends lead leads led make made take taken give see seen
report reports detect detected affect affected 1 2 3 4 5 6 7 8 9 10 12 15 16 18 20 24 25 30 32 37 40 48
50 60 64 72 75 80 90 95 96 100 120 150 200 250 300 400 500 1000 1998 1999 2000 2001 2002 2003 2004 α β γ
κ μm °C
"""

_PREFIXES = """
anti auto bio carcin cardio chemo chrono co counter cyto de dis electro endo epi exo extra fibro gastro
haemo hepato hetero homo hyper hypo immuno inter intra iso leuko macro meta micro mono multi myo nano neo
nephro neuro non onco osteo para patho peri phospho photo physio poly post pre pro pseudo re sub super
supra syn thermo thrombo trans ultra vaso
"""

_ROOTS = """
act adhes aggreg amin angi apopt arter bact bas bind blast calc cardi cataly cell chrom cleav clust coll
conduct cort cycl cyst cyt degrad dendr derm diff dilat dimer dom embry enzym epith equil erythr estr
excit express fer fibr filament fluor fus gangli genet genom gli glob gluc glyc gran hepat herb hist
hormon hydr immun infect inhib inject insul integr kerat kin lact lamin lesion leuk ligand lip lob lys
magn mamm membran metab methyl migr mit mod morph mot muc mut myel nerv neur nucle nutr olig opt orb
organ osm oxid pancre par path pept perm phag phen phos plasm plast port prote puls radi recept regul ren
repl resp ribos scler secret segment sens ser sign solv son spher spin stabil ster stim strat stress
synth tens therm thromb tox tract transcr transp trop tubul tum typ vacu vari vas ventr ves vir vit
"""

_SUFFIXES = """
al ase ated ates ating ation ations ative ator ators ed ene ent ential er ergic es ia iac ial ible ic
ical ically id in ine ing ins ion ions ism isms ist ite ites ity ive ization ized oid ol oma or ors osis
osome ous ular ulation ule ules ulin um ure yl
"""


def _combinations(*parts: list[str]) -> Iterator[str]:
    """Every concatenation of one morpheme of each part, in a fixed scattered order without repeats.

    A stride that shares no factor with the number of combinations visits each once, so neighbours in the list
    share no morpheme; Python's and numpy's random streams are not promised to stay the same, arithmetic is.
    """
    total = 1
    for part in parts:
        total *= len(part)
    stride = 999_983  # a prime, larger than any factor of `total`
    for step in range(total):
        remainder = step * stride % total
        word = ""
        for part in reversed(parts):
            remainder, index = divmod(remainder, len(part))
            word = part[index] + word
        yield word


@lru_cache(maxsize=1)
def terms() -> tuple[str, ...]:
    """The TERM_COUNT made-up scientific terms, lower case, distinct, the most frequent first.

    Terms of two morphemes come before terms of three: frequent words are short (Zipf's law of abbreviation).
    """
    prefixes, roots, suffixes = _PREFIXES.split(), _ROOTS.split(), _SUFFIXES.split()
    known = set(general_words())
    distinct: dict[str, None] = {}
    for word in chain(_combinations(roots, suffixes), _combinations(prefixes, roots, suffixes)):
        if word not in known:
            distinct[word] = None
        if len(distinct) == TERM_COUNT:
            break
    return tuple(distinct)


@lru_cache(maxsize=1)
def general_words() -> tuple[str, ...]:
    """The general words without repeats, the most frequent first."""
    return tuple(dict.fromkeys(_GENERAL_WORDS.split()))


def word_pieces() -> tuple[str, ...]:
    """The vocabulary of a WordPiece tokenizer for these words, `##` before a piece inside a word.

    Single characters come first, so that no text of ASCII characters has an unknown token; then morphemes,
    the general words and the WHOLE_TERM_COUNT most frequent terms. Rarer terms are two or three morphemes.
    """
    roots = _ROOTS.split()
    words = [word.lower() for word in general_words()]
    characters = sorted(set(string.ascii_lowercase + string.digits + string.punctuation).union(*words))
    inner = [character for character in characters if character not in string.punctuation]
    return tuple(
        dict.fromkeys(
            [
                *characters,
                *(f"##{character}" for character in inner),
                *_PREFIXES.split(),
                *roots,
                *(f"##{morpheme}" for morpheme in (*roots, *_SUFFIXES.split())),
                *words,
                *terms()[:WHOLE_TERM_COUNT],
            ]
        )
    )
