"""What identifies a person, as patterns: text in, spans out. What becomes of a span is `mask`'s.

Kinds follow HIPAA's Safe Harbor, for notes in English, Chinese and the larger languages of Europe. Phone numbers are judged by Google's
library, given names and surnames by the lists of the US census. An identifier with a mistyped digit is one too: check digits are not asked
for. Every quantifier is bounded or possessive, so that time grows with the text's length alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import phonenumbers

from rpdr.masking.addresses import LABELLED, PLACES
from rpdr.masking.dates import AGES, DATES, DOSES, IN_WORDS
from rpdr.masking.people import PEOPLE
from rpdr.masking.spans import LATIN, Patterns, Span, found

HARD = frozenset({"EMAIL", "URL", "IP", "DATE", "PHONE", "RECORD"})  # masked even in a mention: hardly a name of a concept looks like one


def identifiers(text: str, regions: Sequence[str]) -> Iterator[Span]:
    """Every span that a recogniser finds, overlapping ones too. `regions`: whose phone numbers are known without a +."""
    yield from found(text, _PATTERNS)
    if any(character.isdigit() for character in text):
        yield from found(text, _WITH_DIGITS)
        yield from _phones(text, tuple(regions))
        yield from found(text, _SHAPES)
        yield from found(text, PLACES)
    yield from found(text, LABELLED)
    yield from found(text, PEOPLE)


# --- e-mail addresses, URLs, IP addresses ---

_EMAIL = re.compile(rf"(?<![{LATIN}._%+'-])[{LATIN}._%+'-]++@[{LATIN}-]++(?:\.[{LATIN}-]++)++")
_URL = re.compile(
    r"""(?:\b(?:https?|s?ftp)://|\bwww\.)[^\s<>"'，。；、）】一-龥]*(?<![.,;:!?)\]])"""
    r"|(?<![A-Za-z0-9_@.-])(?:[a-z0-9-]{1,63}+\.){1,5}(?:com|net|org|edu|gov|mil|info|biz|cn|fr|nl|ru|(?:co|org|ac|nhs|gov)\.uk|(?:com|edu|gov|org)\.cn)(?![A-Za-z0-9_]|[.-][A-Za-z0-9])"
    r"""(?:/[^\s<>"'，。；、）】一-龥]*+)?""",
    re.IGNORECASE,
)
# an enzyme's number, EC 1.1.1.27, looks like an IP address
_IP = re.compile(
    r"(?<![A-Za-z0-9_.:])(?<!\bEC )(?<!\bEC: )(?<!\bE\.C\. )(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f:]{6,39})(?![A-Za-z0-9_:]|\.\d)"
)


def _is_ip(match: re.Match[str]) -> bool:
    try:
        ipaddress.ip_address(match[0])
    except ValueError:
        return False
    # 1.1.1.27 and 3.4.21.4: most enzymes have a first number below 8
    return ":" in match[0] or int(match[0].split(".")[0]) > 7


# --- record numbers and their like ---

_LABELS = (
    r"mrn|m\.r\.n\.?|ssn|nhs|chi|npi|dea|nric|ipp|nir|nhc|nuhsa|bsn|cpf|cns|dni|nie|hicn|mbi"
    r"|(?:medical )?record|hospital|patient|chart|case|accession|account|acct|policy|member(?:ship)?|subscriber|insurance|medicare|medicaid"
    r"|social security|passport|licen[cs]e|driver'?s licen[cs]e|encounter|visit|admission|episode|specimen|study|subject|serial|order|claim"
    r"|group|certificate|health card|unit|device|vehicle|plate|versicherten|versicherungs|patienten|fall|akten|dossier|"
    r"historia cl[ií]nica|historia|acc|expediente|tarjeta sanitaria|cartella(?: clinica)?|tessera sanitaria|prontu[aá]rio|sécurité sociale"
)
_NUMBER_WORD = r"(?:numbers?|num\.?|no\.?|nr\.?|nummer|n[º°.]|id(?:entifier)?|#|号码?)"
_VALUE = r"(?P<value>(?=(?:[A-Z/.-]{0,4}[0-9]){3})[A-Z0-9](?:[A-Z0-9]|[/.-](?=[A-Z0-9])| / (?=\d)){2,39})(?![A-Z0-9])"
_RECORD_LABELLED = re.compile(rf"\b(?:{_LABELS})[ -]?(?:{_NUMBER_WORD}[ ]?)?[:=#]?[ ]?(?:is )?{_VALUE}", re.IGNORECASE)
# what is a record's label only with a word for a number, before it or after: Aufnahme-Nr.: 4711-22, N° de séjour : 123456
_RECORD_NUMBERED = re.compile(
    rf"\b(?:(?:pat\.?|kv|aufnahme|befund|auftrags?|kassen|kranken(?:kassen|versicherten|versicherungs))[ -]?{_NUMBER_WORD} ?[:=]? ?|mr ?# ?:? ?"
    r"|(?:HC|NIP|NDA) ?[:=#] ?(?=\d{5})|CIP ?:? ?(?=[A-Z]{4}\d{8})"
    r"|(?:n[°º]|num[ée]ro|número) (?:de (?:la )?|du |d['’])?(?:séjour|dossier|patiente?|venue|passage|admission|historia(?: cl[ií]nica)?|paciente"
    rf"|expediente|episodio) ?[:=]? ?){_VALUE}",
    re.IGNORECASE,
)
_SURE_LABEL = re.compile(
    r"(?:medical record|mrn|m\.r\.n\.?|ssn|nhs|nric|nhc|nuhsa|bsn|cpf|hicn|mbi|accession|ipp|prontu[aá]rio|dossier|cartella|fall-?nummer)\b",
    re.IGNORECASE,
)
_NUMBERED = re.compile(rf"#|\b{_NUMBER_WORD}(?![A-Za-z0-9_])|(?:nr|nummer)(?![A-Za-z0-9_])", re.IGNORECASE)
_SAYS_NUMBER = re.compile(rf"[:=]|{_NUMBERED.pattern}", re.IGNORECASE)
# BP at last visit: 120/80, Hb on admission: 112
_OFTEN_MEASURED = re.compile(r"(?:admission|visit|encounter|episode|patient|subject|group|study|unit|device|nhs)\b", re.IGNORECASE)
_MEASURE = re.compile(r"\d{1,3}(?:[/.-]\d{1,3}){1,2}|\d{1,4}00-\d{1,4}00|\d{3}")
_RECORD_ID = re.compile(rf"(?<![A-Za-z0-9_-])(?:ID|Id|UID|PID)(?: ?(?:no\.?|number|#))?\s?[:=#]\s?(?i:{_VALUE})")
_RECORD_HAN = re.compile(
    r"(?:(?:住院|病历|病案|门诊|急诊|就诊|身份证|医保|社保|护照|流水|条码|住院流水|(?<![A-Za-z])ID|证件|保险|床位?)\s?(?:卡|证)?(?:编?号码?|ID)?"
    r"|(?:检查|标本|样本|病理|影像|登记|卡|体检)\s?(?:编?号码?|编码|ID))\s?"  # 检查：CA125 is a finding
    r"(?:[:：]|为|是)?\s?(?P<value>[A-Za-z]{0,4}-?\d[A-Za-z0-9-]{2,29})"
)
_RECORD_SHAPES = re.compile(
    r"(?<![A-Za-z0-9_-])\d{3}-\d\d-\d{4}(?![A-Za-z0-9_-])"  # US social security
    r"|(?<![A-Za-z0-9_.-])\d{3}[ -]\d{3}[ -]\d{4}(?![A-Za-z0-9_-]|\.\d)"  # NHS
    r"|(?<![A-Za-z0-9_.-])(?!(?:19|20)\d\d )\d{4}(?:[ -]\d{4}){2,3}(?![A-Za-z0-9_-]|\.\d)"  # Aadhaar, cards
    r"|(?<![A-Za-z0-9_.-])[A-CEGHJ-PR-TW-Z]{2} ?\d\d ?\d\d ?\d\d ?[A-D](?![A-Za-z0-9_])"  # UK national insurance
    r"|(?<!\d)\d{3}\.\d{3}\.\d{3}-\d\d(?!\d)"  # CPF
    r"|(?<![A-Za-z0-9_.-])[12] ?\d\d ?(?:0[1-9]|1[0-2]) ?\d\d ?\d{3} ?\d{3}(?: ?\d\d)?(?![A-Za-z0-9_])"  # NIR
    r"|\b[A-Z]{6}\d\d[A-Z]\d\d[A-Z]\d{3}[A-Z]\b|\b[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z0-9]\d\b"  # codice fiscale, CURP
    r"|\b[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"  # IBAN
    r"|(?<![A-Za-z0-9_-])[A-Z]\d{6,9}(?:[A-Z]|\(\d\))?(?![A-Za-z0-9_/-])"  # passports, NRIC, HKID
    r"|(?<![A-Za-z0-9_-])(?!NCT|PMID|PMC|ISRCTN)[A-Z]{2,3}\d{8,14}(?![A-Za-z0-9_])"
    r"|(?<![A-Za-z0-9_-])[A-Z]{1,3}\d\d-\d{3,7}(?![A-Za-z0-9_-])"  # S21-12345
    r"|(?<![A-Za-z0-9_-])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![A-Za-z0-9_])|(?<![A-Za-z0-9_:-])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![A-Za-z0-9_:-])"
    r"|(?<![A-Za-z0-9.,_-])\d{7,}+(?!0)(?:-?[A-Z])?(?![A-Za-z0-9_]|[.,]\d)(?! ?(?:copies|cells|IU|units?|bp|platelets)(?![A-Za-z]))"  # any long number
)


def _is_no_year(match: re.Match[str]) -> bool:
    return not re.fullmatch(r"(?:1[89]|20)\d\d(?:-\d{2,4})?", match["value"])  # nor a few


def _is_record(match: re.Match[str]) -> bool:
    label = match[0][: match.start("value") - match.start()]
    if not _is_no_year(match):
        return False
    if _OFTEN_MEASURED.match(label) and not _NUMBERED.search(label) and _MEASURE.fullmatch(match["value"]):
        return False
    return bool(_SURE_LABEL.match(label) or _SAYS_NUMBER.search(label))


_VOCABULARY = re.compile(
    r"(?:\b(?:HP|MONDO|MESH|OMIM|SNOMED(?: ?CT)?|SCTID|DOID|ORPHA|GO|CHEBI|UBERON|RXNORM|PMID|NCT|UMLS|CUI)[: ]{1,2}|\bchr(?:\d{1,2}|[XYM]):)$",
    re.IGNORECASE,
)


def _is_no_number_of_medicine(match: re.Match[str]) -> bool:
    return not (match[0].isdigit() and match[0].endswith("0000")) and not _is_of_vocabulary(match)


def _is_of_vocabulary(match: re.Match[str]) -> bool:
    return bool(_VOCABULARY.search(match.string, max(0, match.start() - 12), match.start()))


# --- phone numbers ---

_NO_UNIT = rf"(?! ?(?:{DOSES}|gm|grams?|l|tablets?|copies|cells|patients|%|x|years?|weeks?|days?|hours?|h|ans|Jahre)(?![A-Za-z]))"
_PHONE_CALLED = re.compile(
    r"(?i:\b(?:t[eé]l(?:[eé][a-zé]{0,7})?|phone|mobile|cell phone|(?:(?<![\w+] )(?<![\w+]-)|(?<=\bmy )|(?<=\bhis )|(?<=\bher )|(?<=['’]s ))cell|fax|pager|beeper|call(?: (?:me|him|her|us|at|on)){0,2}|contact|handy|móvil"
    r"|cellulare|celular|portable|whatsapp)(?: (?:number|no|nr|is|at))?|电话|手机|联系方式|传真|微信|手机号码?|联系电话)[.:：#]?\s?[:：]?\s?"
    rf"(?P<called>\+?[\d(][\d() ./-]{{4,22}}\d(?!\d){_NO_UNIT}(?:(?: ?x| ext\.?) ?\d{{1,6}})?)"
    rf"|(?:(?i:\b(?:ext|extension|bleep|pager|durchwahl|poste|telefon|t[ée]l(?=[.:])))|\b[Bb]ip)\.? ?#?:? ?(?P<extension>\d{{3,6}})(?![A-Za-z0-9_-]|\.\d){_NO_UNIT}"
)
_PHONE_US = re.compile(
    r"(?<![A-Za-z0-9_.-])(?:(?:\+|00)?1[ .-]?)?(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[ .-]\d{4}(?:(?: ?x| ext\.? ?) ?\d{1,6})?(?![A-Za-z0-9_-]|\.\d)"
    r"|(?<![A-Za-z0-9_.,/():;-])[2-9]\d\d-(?!\d00|\d\d[05]0)\d{4}(?![A-Za-z0-9_/-]|[.,]\d)(?! ?(?:mg|mcg|ml|g|kg|bp|kb|iu|units?|patients|%|cells|nm|ng|µ))"
)
_PHONE_SHAPE = re.compile(r"(?<![A-Za-z0-9_.,/:;-])(?:\+|\()?\d(?:\d|[ ()./-]{1,2}(?=[\d(])){6,22}(?![A-Za-z0-9_]|[.,/-]\d)" + _NO_UNIT)


def _phones(text: str, regions: tuple[str, ...]) -> Iterator[Span]:
    for match in _PHONE_SHAPE.finditer(text):
        shape = re.sub(r" \d$", "", match[0])  # no number ends so; the next word's does
        if _is_phone(shape, regions) and not _is_of_vocabulary(match):
            yield Span(match.start(), match.start() + len(shape), "PHONE")


@lru_cache(maxsize=4096)
def _is_phone(shape: str, regions: tuple[str, ...]) -> bool:
    groups = re.findall(r"\d+", shape)
    if re.fullmatch(r"\(?(?:19|20)\d\d ?- ?(?:19|20)\d\d\)?", shape) or shape.count("(") != shape.count(")"):  # years
        return False
    if _is_cas(shape) or len(groups) > 7 or not 8 <= sum(map(len, groups)) <= 15:
        return False
    if shape.startswith("+"):
        return _parsed(shape, None, phonenumbers.is_possible_number)
    if shape.isdigit() and shape.endswith("0000"):
        return False
    if len(groups) == 3 and all(len(group) < 4 and group.endswith("0") for group in groups):  # 100-200-300 are doses
        return False
    if re.fullmatch(r"[1-9]\d*00 ?- ?[1-9]\d*00", shape):  # 4500-11000 is what is normal
        return False
    if "." in shape and not groups[0].startswith("0"):  # 38.5903.01 is a procedure
        return False
    if len(groups) > 1 and not (
        groups[0].startswith("0") or shape.startswith("(") or len(set(re.findall(r"[^\d()]+", shape))) == 1 or len(groups) == 3
    ):
        return False
    return any(_parsed(shape, region, phonenumbers.is_valid_number) for region in regions)


def _is_cas(shape: str) -> bool:
    """Whether it is a substance's number of the Chemical Abstracts Service, by form and check digit."""
    digits = [int(digit) for digit in shape if digit.isdigit()]
    return bool(re.fullmatch(r"\d{2,7}-\d\d-\d", shape)) and sum(n * d for n, d in enumerate(reversed(digits))) % 10 == digits[-1]


def _parsed(shape: str, region: str | None, check: Callable[[phonenumbers.PhoneNumber], bool]) -> bool:
    try:
        return check(phonenumbers.parse(shape, region))
    except phonenumbers.NumberParseException:
        return False


_PATTERNS: Patterns = (  # where two find the same, the first says what it is
    ("EMAIL", _EMAIL, None),
    ("URL", _URL, None),
    *IN_WORDS,
)
_WITH_DIGITS: Patterns = (
    ("IP", _IP, _is_ip),
    *DATES,
    ("PHONE", _PHONE_CALLED, None),
    ("RECORD", _RECORD_LABELLED, _is_record),
    ("RECORD", _RECORD_NUMBERED, _is_no_year),
    ("RECORD", _RECORD_ID, None),
    ("RECORD", _RECORD_HAN, None),
    ("PHONE", _PHONE_US, None),
)
_SHAPES: Patterns = (
    ("RECORD", _RECORD_SHAPES, _is_no_number_of_medicine),
    *AGES,
)
