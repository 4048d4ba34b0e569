"""Names of persons, as patterns: text in, spans out; a part of `identifiers`.

A name is known by a title, a label, a degree behind it, or a given name of the US census before a capital letter. Eponyms stay.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources

from rpdr.masking.spans import LATIN, UP, Patterns, Span

_NAME_WORD = rf"[{UP}](?:\w|[’'-](?!s\b)(?=\w))*+"
_PART = rf"(?:[{UP}]\.|(?:[Aa]l-|[Ee]l-)?{_NAME_WORD})"
_PARTICLE = r"(?:(?:v\.|van|von|der|die|den|de|del|della|da|di|dos|la|le|el|al|bin|ibn|ten|ter|zu|zum|das|het|'t) ){0,2}"
_SEQUENCE = rf"{_PARTICLE}{_PART}(?:[ -]?{_PARTICLE}{_PART}){{0,3}}"
_HAN = "一-龥"
_SURNAME = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯"
    "邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文萧瞿房路俞柳滕殷祝葛章凌洪包左柴翟蓝焦欧单庄温裴祁仇宗桂厉鲁艾纪娄岑曲甄鞠毕尚耿兰甘涂米齐梅庞颜倪牛童岳詹符蒲靳褚卞聂"
)
_COMPOUND = "欧阳|司马|上官|诸葛|皇甫|尉迟|公孙|慕容|令狐|夏侯|司徒|端木|东方|南宫"
_FAMILY = rf"(?:{_COMPOUND}|[{_SURNAME}])"
_DEGREES = r"(?:(?:med|rer|nat|univ|dent|vet|phil|habil|h\. ?c)\.\s?){0,4}"  # Prof. Dr. med. dent. Schmidt
_TITLED = re.compile(
    rf"(?<![A-Za-z0-9_-])(?:Drs|Doctors|Messrs)\.? (?P<many>{_SEQUENCE}(?:(?:, | and | & ){_SEQUENCE}){{0,4}})|"
    r"(?<![A-Za-z0-9_-])(?:(?:Mr|Mrs|Ms|Miss|Mx|Drs?|Prof|Professor|Doctor|Rev|Sir|Herrn?|Frau|Mme|Mlle|Monsieur|Madame|Sra|Srta|Señora?|Dott(?:\.ssa)?|Dra|Sig(?:\.ra)?"
    r"|Signora?|Do[ñn]a|Dña|Docteure?|Professeure?|Dhr|Mevr|Mw|dr|prof|dhr|mevr|mw|sig|sra|Hr\.|Fr\.|Pat\.|Oberarzt|Oberärztin|Schwester|MR\.|MRS\.|MS\.|DR\.|(?<![A-Z]\. )(?<!\d )M\.(?= [A-ZÀ-Þ]\w))(?:\.\s{0,2}|(?<=\.)|\s{1,2})){1,3}"
    rf"{_DEGREES}(?P<name>{_SEQUENCE})"
    # le docteur Moreau, el Sr. Pérez; Sr. is serum too, and Pr an interval, so that without an article the surname must be one
    rf"|(?<![A-Za-z0-9_-])(?:[Ll]e |[Ll]a |[Aa]u |[Dd]u |[Ee]l |[Aa]l |[Dd]el )(?:docteure?|professeure?|doctora?|profesora?|Sr\.?|Pr\.?) (?P<article>{_SEQUENCE})"
    rf"|(?<![A-Za-z0-9_-])(?:Sr|Pr)\.? (?P<maybe>{_SEQUENCE})"
    # MR SMITH, dr. smith, Nurse Williams: a scan and a sclerosis are MR and MS, so that the surname must be one
    rf"|(?<![A-Za-z0-9_-])(?:MR|MRS|MS|MISS|DR|PROF|MME|MLLE|FRAU|HERRN?|SRA?|SRTA|DRA)\.? {{1,2}}(?P<caps>[{UP}][{UP}’'-]{{1,20}})(?!\w)"
    r"|(?<![A-Za-z0-9_-])(?:dr\.? |Nurse |nurse )(?P<known>[A-Za-z][a-z’'-]{1,20})(?![A-Za-z0-9_])"
    r"|(?<![A-Za-z0-9_-])(?:mr|mrs)\.? (?P<small>[a-z]{2,20}(?:-[a-z]{2,20})?)(?! (?:imaging|scan))"
)
_WHAT_HAS_NAMES = re.compile(
    r"(?i:\b(?P<of>drug|brand|trade|generic|product|test|gene|file|user|common|proper|chemical|study)?[ ]?)"
    r"(?i:(?<![A-Za-z0-9_])(?:(?:patient(?:'s)?|pt|full|first|last|given|family|maiden|mother'?s|father'?s|middle|doctor'?s) ?names?|name|surname|forename|next of kin|nok"
    r"|emergency contact|attending(?: physician)?|physician|referring (?:physician|doctor|provider)|consultant|provider|surgeon|radiologist|pathologist"
    r"|(?:dictated|signed|transcribed|reported|verified|reviewed) by|nom(?: de famille)?|prénom|nombre|apellidos?|paciente|cognome|nome|naam|vorname|nachname|patientin))"
    rf"\s?(?:[:=]|(?<=signed by)|(?<=dictated by))\s?(?P<name>{_SEQUENCE}(?:, ?{_SEQUENCE})?)"
    rf"|(?<![A-Za-z0-9_])(?:[Pp]atient|PATIENT|[Pp]t|PT|[Pp]atiente)\s?[:=]\s?(?P<patient>{_PART}(?: {_PARTICLE}{_PART}){{1,3}}|{_NAME_WORD}, ?{_PART}(?: {_PART}){{0,2}})"
    rf"|(?i:\b(?:patient )?name|\bsurname)\s?[:=]\s?(?P<low>[a-z]{{2,20}} [a-z]{{2,20}})(?![A-Za-z0-9_])"
    rf"|(?i:\bmy name is|\bname's) (?P<mine>[A-Za-z]{{2,20}}(?: [A-Z]\w{{1,20}}){{0,2}})"
)
_CREDENTIALS = re.compile(
    rf"(?<![{LATIN}_-])(?<!\w[’'])(?:(?P<listed>{_PART}, (?P<given>{_NAME_WORD})(?: {_PART}){{0,2}})|(?P<name>{_PART}(?: {_PART}){{1,3}})),? "
    r"(?:M\.?D\.?|D\.O\.|(?<=, )DO|R\.?N\.?|NP|PA-C|FRCP|FRCS|MBBS|Ph\.?D\.?|DDS|LPN|FACC|FACS|DPM|MBChB)(?![A-Za-z0-9_-])"
)
_HAN_NAMED = re.compile(
    rf"(?:姓名\s|(?:姓名|患者姓名|联系人|家属|医师签名|签名|主治医师|经治医师|主管医生|记录者|陈述者|审核者|报告医师|术者|主刀|医师|医生)\s?[:：]\s?)(?P<labelled>{_FAMILY}[{_HAN}]{{1,2}}|[{_HAN}]{{2,4}}(?:·[{_HAN}]{{1,6}})?(?![{_HAN}]))"
    rf"|(?:患者|病人|病员|患儿)[,，:： ]?(?P<patient>{_FAMILY}[{_HAN}]{{1,2}})(?=[,，、\s(（]{{1,2}}(?:男|女|先生|女士|\d{{1,3}}岁)|(?:先生|女士))"
    rf"|(?:患者|病人|病员|患儿)(?P<because>{_FAMILY}(?:某某?|[{_HAN}]{{1,2}}?(?=因|自?诉)))"
    rf"|(?:主治|主任|住院|经治)医师(?P<ward>{_FAMILY}[{_HAN}]{{1,2}})(?=查房|会诊|[,，。;；、\s]|$)"
    rf"|(?:^|[,，。;；:：\s])(?P<who>{_FAMILY}[{_HAN}]{{1,2}})(?=[,，、\s]{{1,2}}(?:男|女)性?[,，、\s\d])"
    rf"|(?<![主责])(?P<titled>{_FAMILY}[{_HAN}]{{0,2}})(?=先生|女士|医生|医师|大夫|主任(?!委)|护士(?!长期)|教授)"
)
_SMALL = "and or the a an is was has had of in on for to with not no who what i he she it we they said told"
_SMALL_WORDS = frozenset(_SMALL.split())
_ARTICLES = frozenset(("le", "la", "el", "al", "de", "du", "del", "ben"))
_PATIENT_OR_NURSE = re.compile(r"(?:Pat\.|Schwester)\s{0,2}$")
_GERMAN = "angst arm bein bruch brust fall grippe hand herz koma kopf krebs mund schock stirn sturz tod"
_GERMAN_WORDS = frozenset(_GERMAN.split())  # surnames too
_MORBUS = frozenset(("scheuermann", "wegener", "boeck", "pick", "bowen", "gilbert", "kohler", "kahler", "haglund"))
_IN_SERUM = frozenset(("copper", "iron"))  # Sr. Copper
_NONE = "der practitioner disease syndrome imaging scan angiography contin patient patients the of and pepper google"
_NO_NAMES = frozenset(_NONE.split())
_TWO_NAMES = frozenset(  # of things that are named after two people, or after one by both names
    ("marie tooth", "mallory weiss", "jackson pratt", "marcus gunn", "bernard soulier", "kelley seegmiller", "louis bar", "rose bengal")
)
_EPONYM = re.compile(
    r"['’]s?\b|[ -](?:[a-z-]+ ){0,2}(?:disease|syndrome|sign|test|scale|score|palsy|murmur|fracture|contracture|phenomenon|law|anomaly|malformation|lymphoma"
    r"|sarcoma|tumou?r|body|bodies|cell|cells|reflex|classification|criteria|method|procedure|operation|position|hernia|duct|virus|fever|ulcer|deformity"
    r"|reaction|stain|model|index|questionnaire|inventory|triad|tetrad|node|nodes|catheter|tube|line|ataxia|dystrophy|thyroiditis|esophagus|oesophagus|chorea"
    r"|neuropathy|atrophy|deficiency|trial|study|equation|formula|pupil|rosette|stage|level|grade|chiari|arbor|hospital|university|institute|foundation|college|center|centre|clinic|type|effect|sequence|nodule|prosthesis|mechanism|splint)s?\b",
    re.IGNORECASE,
)
_LISTED = re.compile(
    rf"(?<![{LATIN}_-])(?<!\w[’'])(?=(?P<name>(?P<given>{_NAME_WORD})(?: [{UP}]\.?){{0,2}} {_PARTICLE}(?P<surname>{_NAME_WORD})))"
)
# Smith, John A.
_LISTED_LAST_FIRST = re.compile(
    rf"(?<![{LATIN}_-])(?<!\w[’'])(?=(?P<name>(?P<surname>{_NAME_WORD}), ?(?P<given>{_NAME_WORD})(?: [{UP}](?:\.(?!\w)|(?![\w.’'-]))){{0,2}}))"
)
_MORE_OF_A_LIST = re.compile(rf"(?:(?:,|,? and|,? or|/) ?{_NAME_WORD}(?:['’]s?)?){{1,4}}")
_KIN = re.compile(
    r"(?i:\b(?:wife|husband|son|daughter|mother|father|brother|sister|partner|spouse|aunt|uncle|niece|nephew|grandson|granddaughter|friend|girlfriend"
    rf"|boyfriend|fianc[ée]e?|carer|caregiver|neighbou?r),? (?:named |called |is )?)(?P<name>(?P<given>[{UP}][a-zà-ÿ’'-]{{2,20}})(?: [{UP}][a-zà-ÿ’'-]+)?)\b"
)


def _is_titled(match: re.Match[str]) -> bool:
    if match["small"]:
        return match["small"] not in _SMALL_WORDS
    if sure := match["caps"] or match["known"]:
        word = plain(sure)
        return word in surnames() and word not in _WORDS | _NO_NAMES | _SMALL_WORDS | _IN_SERUM
    if match["many"]:
        return True
    words = plain(match.group(match.lastgroup or 0)).split()
    if match["maybe"] or match[0].startswith("M."):  # M. TUBERCULOSIS, M. Crohn
        first = next((word for word in words if word not in _ARTICLES), "")
        if len(words) > 1 and first in given_names() and _is_surname(words[1]):
            return True  # M. Gilbert Dupont
        return _is_surname(first) and first not in _IN_SERUM and not (match[0].startswith("M.") and first in _MORBUS)
    if match["name"] and _PATIENT_OR_NURSE.match(
        match.string, match.start(), match.start("name")
    ):  # Pat. Fieber; Schwester Brustkrebs is a sister's
        first = next((word for word in words if len(word.rstrip(".")) > 1), "")
        return (_is_surname(first) or first in given_names()) and first not in _GERMAN_WORDS
    return words[0] not in _NO_NAMES and words[0] not in _SMALL_WORDS


def again(text: str, names: Sequence[str]) -> Iterator[Span]:
    """Where words of names that were found stand elsewhere: "Mr Smith ... Smith's wife"."""
    words = {
        word for name in names for word in re.findall(rf"[{UP}][\w’'-]{{2,}}(?<!'s)", name) if word.casefold() not in _WORDS | _SMALL_WORDS
    }
    if words:
        for match in re.finditer(rf"(?<![\w-])(?:{'|'.join(map(re.escape, sorted(words, key=len, reverse=True)))})(?![\w-])", text):
            if not _EPONYM.match(text, match.end()) or text[match.end() : match.end() + 2] in ("'s", "’s"):
                yield Span(*match.span(), "NAME")


def _has_names(match: re.Match[str]) -> bool:
    if match["low"] and match["low"].split()[0] not in given_names():
        return False
    return not match["of"]


def _is_han_name(match: re.Match[str]) -> bool:
    return not re.match("康复|任何|高年|高级|主治|黄疸|高热|白班|包括|于[今昨当近]|常", match.group(match.lastgroup or 0))


def _is_listed(match: re.Match[str]) -> bool:
    given, surname = match["given"], match["surname"]
    if given.casefold() not in given_names() or given.isupper() != surname.isupper():
        return False
    if surname.casefold() in _WORDS if given.isupper() else (surname.casefold() not in surnames() and len(surname) < 4):
        return False
    if given.isupper() and surname.casefold() not in surnames():
        return False
    if f"{plain(given)} {plain(surname)}" in _TWO_NAMES:
        return False
    if given in {"WILL", "ART", "MAN", "MARK", "PAT"}:
        return False
    return not (_EPONYM.match(match.string, match.end("name")) or _EPONYM.fullmatch(" " + surname))


def _has_degree(match: re.Match[str]) -> bool:
    return not match["listed"] or match["given"].casefold() in given_names()


def _is_listed_last_first(match: re.Match[str]) -> bool:
    given = match["given"].casefold()
    if given not in given_names() or given in _OF_LISTS or not _is_surname(plain(match["surname"])):
        return False
    more = _MORE_OF_A_LIST.match(match.string, match.end("name"))  # Parkinson, Wilson and Huntington disease
    return not any(_EPONYM.match(match.string, end) for end in (match.end("name"), more.end() if more else match.end("name")))


def _is_surname(word: str) -> bool:
    """Of a word as `plain` gives it. Of its parts, Smith-Jones, one is enough."""
    return word not in _WORDS | _SMALL_WORDS | _NO_NAMES | _NO_SURNAMES and not surnames().isdisjoint(re.sub("['’]", "", word).split("-"))


def _is_kin(match: re.Match[str]) -> bool:
    return match["given"].casefold() in given_names() and not _EPONYM.match(match.string, match.end())


_NOT_GIVEN = (
    "long brain easter forest major willow angle dalton vena cava joint chest neck head hand hands foot feet back knee hip toe toes leg arm body bone bones stem"
    " lung lungs liver heart cancer iron gold lead class surface pain cell cells test tests day days week time well good bad still just much very more most less"
    " doctor life old new young ten two gain loss risk city bark sun cold heat fever rash itch red white black blue brown green gray grey low high early late left"
    " right upper lower before after since then than when where this that these those also only every each what who why how the and but for not with from been was"
    " her his him our their they them she you your into over under about all any some such same other another said see can could should would must did does"
    " done get got may able ever never need sure true type part page case fast slow hard soft light dark strong short small large great real big best better"
    " normal clear clean acute close fine free full active mild water wine rice salt sugar bread coffee tea cocoa bean berry apple cherry"
    " gene iris echo spring summer charlie von van del san santa nova alpha beta delta gamma family robin sequence joy hope faith grace may april june"
    " august sunday monday friday said let use see go"
)
_WORDS = frozenset(_NOT_GIVEN.split())
_LISTED_PLACES_AND_HERBS = "georgia virginia carolina florida israel china ginger rosemary basil sage dill wilson pat"
_OF_LISTS = frozenset(_LISTED_PLACES_AND_HERBS.split())  # Augusta, Georgia
_EPONYMS = "parkinson hodgkin addison cushing paget fabry gaucher whipple huntington osler graves wilson child vein"
_NO_SURNAMES = frozenset(_EPONYMS.split())  # M. Wilson is Morbus Wilson; child, foster


def plain(word: str) -> str:
    """In small letters without accents, as the lists have them: Lefèvre is lefevre there."""
    return "".join(letter for letter in unicodedata.normalize("NFD", word.casefold()) if not unicodedata.combining(letter))


@cache
def given_names() -> frozenset[str]:
    """Given names of the US census, in small letters, less those that are words of a note more often."""
    return (_census("dist.female.first") | _census("dist.male.first")) - _WORDS


@cache
def surnames() -> frozenset[str]:
    """Surnames of the US census, in small letters."""
    return _census("dist.all.last")


def _census(file: str) -> frozenset[str]:
    lines = (resources.files("names") / file).read_text(encoding="ascii").splitlines()
    names = (line.split(maxsplit=1)[0].casefold() for line in lines)
    return frozenset(name for name in names if len(name) > 2)


PEOPLE: Patterns = (
    ("NAME", _TITLED, _is_titled),
    ("NAME", _WHAT_HAS_NAMES, _has_names),
    ("NAME", _CREDENTIALS, _has_degree),
    ("NAME", _HAN_NAMED, _is_han_name),
    ("NAME", _LISTED, _is_listed),
    ("NAME", _LISTED_LAST_FIRST, _is_listed_last_first),
    ("NAME", _KIN, _is_kin),
)
