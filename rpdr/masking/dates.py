"""Dates, and ages over 89, as patterns: text in, spans out; a part of `identifiers`.

A date is all that is finer than a year; a plain year, a time of day and a duration stay.
"""

from __future__ import annotations

import re

from rpdr.masking.spans import Patterns

_MONTHS = (  # by language; those that are words otherwise, or short, are below
    "january|february|april|june|july|august|september|october|november|december"
    "|januar|jänner|februar|märz|maerz|mär|juni|juli|oktober|dezember"
    "|janvier|janv|février|fevrier|févr|fevr|fév|avril|juin|juillet|juill?|août|aout|septembre|octobre|novembre|décembre"
    "|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|setiembre|octubre|noviembre|diciembre"
    "|gennaio|febbraio|aprile|maggio|giugno|luglio|settembre|ottobre|dicembre"
    "|janeiro|fevereiro|março|maio|junho|julho|setembro|outubro|novembro|dezembro"
    "|januari|februari|maart|augustus"
    "|jan|feb|apr|jun|jul|aug|sept?|oct|nov|dec|déc|okt|dez|mrz|abr|ago|dic"
)
_BETWEEN_DAY_AND_YEAR = "mar|may|ene|avr|fev|gen|mag|giu|lug|set|ott|out"  # words, and FEV 1, elsewhere
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_YEAR = r"(?:1[89]\d\d|20\d\d)"
_ENE = rf"(?i:ene)(?:(?i:(?<![\d-]ene))|(?=[ ./-]{{1,2}}(?:del? )?{_YEAR}))"  # a 4-ene is no fourth of January
_MONTH = rf"(?:(?i:{_MONTHS})|Mar(?:ch|s)?|MAR(?:CH|S)?|march|mars|Ma[iy]|MA[IY]|mai|mei|{_ENE})(?![A-Za-z0-9_])"
_DATE_WORDS = re.compile(
    # 3 March 2021, 3rd of March, 3. März 2021, 3 de marzo de 2021, 12-Mar-21, 12Mar2021, 12.-15. März
    rf"(?<![A-Za-z0-9_.,/-])(?:{_DAY}\.? ?[-/] ?)?{_DAY}(?:st|nd|rd|th|er|º|ª)?(?:(?:\.? |-(?![A-Za-z]{{3,9}}-[A-Za-z])|\.|/)(?:of |de )?)?(?:{_MONTH}|may(?= {_YEAR}))"
    rf"(?:(?:,? (?:de |del )?|[-./]\ ?){_YEAR}|[-/]\d\d\b|,? '\d\d\b)?(?!\d)"
    rf"|(?<![A-Za-z0-9_.,/-]){_DAY}(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)(?:{_YEAR}|\d\d)(?![A-Za-z0-9_])"
    # 12 avr. 2021, 12-mar-21
    rf"|(?<![A-Za-z0-9_.,/-]){_DAY}(?:\.? |[-./])(?:de )?(?i:{_BETWEEN_DAY_AND_YEAR})(?:\.? (?:de )?{_YEAR}|[-./] ?{_YEAR}|(?<=ma[ry]|ene)[-/]\d\d)(?![A-Za-z0-9_]|-[A-Za-z])"
    # March 3, 2021; March 3rd; Mar-03-2021; oct-1-en-3-ol is none
    rf"|(?<![A-Za-z0-9_]){_MONTH}(?!-\d\d?-[A-Za-z])[. -]{{1,2}}(?:the )?{_DAY}(?:st|nd|rd|th)?(?![A-Za-z0-9_%/]|\.\d|,(?!{_YEAR}\b)\d|-\d\d?\b)(?! ?(?:mg|mcg|ml|g|kg|mm|cm|days?|weeks?|months?|years?)\b)"
    rf"(?:(?:,? |,|-){_YEAR}\b)?"
    # March 12-15, 2021; may 12, 2021; 12th of may
    rf"|(?<![A-Za-z0-9_])(?:{_MONTH}|may)\.? ?{_DAY}(?: ?- ?{_DAY})?(?:st|nd|rd|th)?,? ?{_YEAR}\b|(?<![A-Za-z0-9_.,/-]){_DAY}(?:st|nd|rd|th) (?:of )?may\b"
    # March 2021, Mar-21, marzo de 2021
    rf"|(?<![A-Za-z0-9_])(?:{_MONTH}|may(?= {_YEAR}))(?:[. ,'-]{{1,2}}(?:of |de |del )?{_YEAR}|[-']\d\d)(?![A-Za-z0-9_])",
)
# months that are genes, diagnoses and examinations too: OCT 3, AGO2, grade 2 DIC, 20 MAI infections, Mayo 3
_MONTH_OR_NOT = re.compile(r"\b(?:OCT|SEPT?|DEC|NOV|JAN|APR|JUN|MARS?|MARCH|MAI|(?i:dic|abr|ago)|Mayo)\b")
_DATE_COMES = re.compile(
    r"\b(?:on|since|until|till|dated?|dob|born|am|vom|bis|seit|ab|zum|den|le|du|au|depuis|el|del|al|desde|hasta|il|dal"
    r"|mon|tue|wed|thu|fri|sat|sun|(?:mon|tues|wednes|thurs|fri|satur|sun)day)[.:,]{0,2} $",
    re.IGNORECASE,
)
_TIME = re.compile(r",? (?:at )?\d\d?:\d\d", re.IGNORECASE)


def _is_day_of_month(match: re.Match[str]) -> bool:
    """Whether a month with a number is a date: with a year it is."""
    numbers, text = re.findall(r"\d+", re.sub(r"^\d\d?\.? ?[-/] ?(?=\d)", "", match[0])), match.string
    if len(numbers) > 1 or len(numbers[0]) > 2 or _DATE_COMES.search(text, max(0, match.start() - 12), match.start()):
        return True
    if re.fullmatch(r"[^\W\d]{3,}-\d", match[0]):  # Oct-4, Dec-1
        return False
    if not _MONTH_OR_NOT.search(match[0]) or numbers[0][0] == "0" or _TIME.match(text, match.end()):
        return True
    return bool(re.fullmatch(r"[A-Z]{3,}-\d\d", match[0])) and int(numbers[0]) > 14  # OCT-21; of septins there are 14


DOSES = "mg|mcg|µg|g|ml|mL|kg|mm|cm|mmol|IU|units?"
_DOSED = rf"(?! ?(?:{DOSES})(?![A-Za-z]))"
_DATE_DIGITS = re.compile(
    rf"(?<![A-Za-z0-9_/.-])(?:({_YEAR})([-/.])(\d\d?)\2(\d\d?)(?!\d|[/.-]\d)"
    rf"|(\d\d?)([-/.])(\d\d?)\6(\d{{4}}(?!\d)|'?\d\d(?![A-Za-z0-9_]){_DOSED})(?![/.-]\d))"
)
# 12/03/2021-15/03/2021, 12.03.-15.03.2021: each of the two would forbid the other
_A_DATE = rf"(?:{_YEAR}[-/.]\d\d?[-/.]\d\d?|\d\d?(?P<by%s>[/.])\d\d?(?:(?P=by%s)(?:\d{{4}}|\d\d)?)?)"
_DATE_RANGE = re.compile(
    rf"(?<![A-Za-z0-9_/.-])(?P<range>{_A_DATE % ('a', 'a')} ?[-/] ?{_A_DATE % ('b', 'b')})(?![A-Za-z0-9_]|[/.-]\d){_DOSED}"
    rf"|(?<![A-Za-z0-9_/.-])(?P<days>{_DAY}\. ?[-/] ?{_DAY}\.(?:0?[1-9]|1[0-2])\.(?:{_YEAR}|\d\d))(?!\d)"  # 12./13.03.2021
    rf"|(?<![A-Za-z0-9_/.-])(?P<spaced>\d\d?(?:\. \d\d?\. ?|\.\d\d?\. | / \d\d? / ){_YEAR})(?!\d)"
)
_RANGE_OF_A_YEAR = re.compile(r"\d\d?\.\d\d?\. ?[-/] ?\d\d?\.\d\d?\.\d\d|\d\d?/\d\d? ?- ?\d\d?/\d\d?/\d\d")  # 12.3.-15.3.21
_DATE_SHORT = re.compile(
    rf"(?<![A-Za-z0-9_/.-])(?:0?[1-9]|1[0-2])/{_YEAR}(?![A-Za-z0-9_/]|[.-]\d)"  # 3/2021
    rf"|(?<![A-Za-z0-9_/.-])(?:0[1-9]|1[0-2])[.-]{_YEAR}(?![A-Za-z0-9_/]|[.-]\d)"  # 03.2021
    r"|(?<![A-Za-z0-9_.-])(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:T?\d{4,6})?(?![A-Za-z0-9_])"  # 20210312
    # 3/12, where a word says that it is a date, and it is no fraction or score
    rf"|(?i:\b(?:on|since|dated?|until|am|le|el|il):? )(?P<short>(?:0?[1-9]|1[0-2])/(?:0[1-9]|[6-9]|1[1-9]|2\d|3[01]))(?![A-Za-z0-9_/%]|[.-]\d)"
    # le 14/7, on 25/12; 24/7 and 16/8 are habits
    rf"|(?i:\b(?:le|du|au|el|del|al|il|dal):? )(?P<day>(?:1[3-9]|2\d|3[01])/(?:0?[1-9]|1[0-2]))(?![A-Za-z0-9_/%]|[.-]\d){_DOSED}"
    rf"|(?i:\b(?:on|since|dated?|until|am|vom|bis|seit):? )(?P<first>(?:1[3-9]|2\d|3[01])/(?:0[1-9]|1[0-2]))(?![A-Za-z0-9_/%]|[.-]\d){_DOSED}"
    r"|(?i:\b(?:dob|d\.o\.b\.?|date of birth|born(?: on)?|geb\.?|出生日期|生日)\s?[:：]? ?)(?P<born>\d{2}(?:\d\d){2,3})(?!\d)"
    rf"|(?<![A-Za-z0-9_/.-])(?:19|20)\d\d-(?:0[1-9]|1[0-2])(?![A-Za-z0-9_/-]|\.\d)"  # 2021-03
    r"|(?i:\b(?:am|vom|bis|seit|ab|zum) )(?P<german>(?:0?[1-9]|[12]\d|3[01])\.(?:0?[1-9]|1[0-2])\.)(?!\d)"  # am 12.3.
    # 12.03.: Fieber; Kontrolle 05.06. geplant
    r"|(?<![A-Za-z0-9_/.,-])(?:(?:0[1-9]|[12]\d|3[01])\.(?:0[1-9]|1[0-2])\.(?=:)|0[1-9]\.(?:0[1-9]|1[0-2])\.(?= [a-zà-ÿ]|[),;]))"
    # 2021年3月12日, 二〇二一年三月; 3年2月 is a duration
    rf"|{_YEAR}\s?[年년]\s?\d\d?\s?[月월](?:\s?\d\d?\s?[日号號일])?|\d{{1,4}}\s?年\s?\d\d?\s?月\s?\d\d?\s?[日号號]"
    r"|(?<!\d)\d\d?\s?[月월]\s?\d\d?\s?[日号號일]|[〇零○一二三四五六七八九]{4}年[一二三四五六七八九十]{1,2}月(?:[一二三四五六七八九十]{1,3}[日号])?"
)


def _is_range(match: re.Match[str]) -> bool:
    numbers = [int(number) for number in re.findall(r"\d+", match[0])]
    days, years = [n for n in numbers if n <= 31], [n for n in numbers if 1800 < n < 2100]
    if match["days"]:
        return True
    if match["spaced"]:
        return len(days) == 2 and 1 <= min(days) <= 12
    # of 12/03-15/03/2021 at least one has a year; 5.2-6.1 and 1/2-3/4 are measures
    return (
        bool(years or len(numbers) == 6 or _RANGE_OF_A_YEAR.fullmatch(match[0]))
        and min(numbers) >= 1
        and all(n <= 99 or n in years for n in numbers)
        and min(days, default=13) <= 12
    )


_HAN_DATE = re.compile(
    r"[〇零○一二三四五六七八九]{4}年[一二三四五六七八九十]{1,2}月(?:[一二三四五六七八九十]{1,3}[日号])?|[一二三四五六七八九十]{1,2}月[一二三四五六七八九十]{1,3}[日号]"
)


def _is_date(match: re.Match[str]) -> bool:
    if match[1]:
        return 1 <= int(match[3]) <= 12 and 1 <= int(match[4]) <= 31
    a, b, year = int(match[5]), int(match[7]), int(match[8].lstrip("'"))
    return 1 <= min(a, b) <= 12 and max(a, b) <= 31 and (year < 100 or 1800 < year < 2100)


_AGE = re.compile(
    r"(?<![A-Za-z0-9_.,/-])(?P<age>9\d|1[0-2]\d)(?=(?i:[ -]?(?:years?|yrs?)[ -](?:old|of age)\b|[ -]?(?:years?|yrs?),? (?:fe)?male\b|[ -]?y[./]?o\b|[ -]?jährig"
    r"|[ -]Jahre alt(?:e[rnms]?)?\b)| ?J\.|[FM]\b| [FM] (?:with|presents|presenting|admitted|who)\b| ans\b(?! de)| años(?: de edad)?\b| anni\b| anos\b|\s?周?[岁歲])"
    r"|(?<=, )(?P<between>9\d|1[0-2]\d)(?= Jahre[,;.)])"
    r"|(?i:\b(?:aged?|age (?:of|is)|alter(?: von)?|年龄|现年|âgée? de|edad)\s?[:：]? ?)(?P<aged>9\d|1[0-2]\d)(?![A-Za-z0-9_%/]|[.,-]\d)"
)
_IS_WARM = re.compile(
    r"\b(?:temp(?:erature)?|t|t[- ]?max|fevers?|febrile|spik(?:ed?|ing))[.:]?(?: (?:of|to|was|is|at|up to))? ?$", re.IGNORECASE
)


def _is_age(match: re.Match[str]) -> bool:
    """Whether it is no temperature: temp 102F."""
    return not (
        match.string.startswith(("F", " F"), match.end()) and _IS_WARM.search(match.string, max(0, match.start() - 20), match.start())
    )


_AGE_IN_WORDS = re.compile(
    r"\b(?:ninety|(?:one|a) hundred)(?:[ -](?:and[ -])?(?:one|two|three|four|five|six|seven|eight|nine|ten))?(?=[ -]years?[ -](?:old|of age)\b)"
    r"|(?:九十[一二三四五六七八九]?|一百[零一二三四五六七八九十]{0,3})(?=周?[岁歲])",
    re.IGNORECASE,
)

IN_WORDS: Patterns = (("DATE", _HAN_DATE, None), ("AGE", _AGE_IN_WORDS, None))  # without digits
DATES: Patterns = (
    ("DATE", _DATE_RANGE, _is_range),
    ("DATE", _DATE_WORDS, _is_day_of_month),
    ("DATE", _DATE_DIGITS, _is_date),
    ("DATE", _DATE_SHORT, None),
)
AGES: Patterns = (("AGE", _AGE, _is_age),)
