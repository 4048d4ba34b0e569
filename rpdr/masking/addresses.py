"""Addresses of persons, as patterns: text in, spans out; a part of `identifiers`."""

from __future__ import annotations

import re

from rpdr.masking.spans import UP, Patterns

_CAPITAL = rf"[{UP}][\w.'’-]*+"
# of a word, a quotation mark before it or none: else each letter of what has no blanks would be a beginning to look on from
_AT_ITS_START = r"(?<![\w.-])(?<![\w.'’-]['’])"
_STREET = (
    "Street|Avenue|Road|Boulevard|Lane|Drive|Court|Place|Square|Terrace|Way|Highway|Close|Crescent|Gardens|Grove|Parkway|Circle|Row|Mews"
    "|Walk|Trail|Turnpike|St|Ave|Rd|Blvd|Ln|Dr|Ct|Pl|Sq|Ter|Hwy|Pkwy|Cir"
)
_STATES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|OH|OK|OR|PA|RI|SC|SD|TN|TX|UT|VT"
    "|VA|WA|WV|WI|WY|DC|PR|AA|AE|AP"
)
_TOWN = rf"(?:(?<![A-Za-z0-9_.,/-])\d{{1,6}} (?:{_CAPITAL} ){{1,3}}(?:Apt\.? |Suite |Unit )?\w{{1,20}}, )?(?:{_AT_ITS_START}{_CAPITAL}(?: {_CAPITAL}){{0,2}},? )?"
_POSTCODE = r"(?:GIR 0AA|[A-Z]{1,2}\d[A-Z\d]? ?\d[ABD-HJLNP-UW-Z]{2})"
_DE_LA = r"(?:de |del |de la |della |da |do |dos |du |des |d['’]|de l['’])?"
_ADDRESS = re.compile(
    rf"(?<![A-Za-z0-9_.,/-])\d{{1,5}}[A-Za-z]?,? (?:[NSEW]{{1,2}}\.? )?(?:(?:{_CAPITAL}|\d{{1,3}}(?:st|nd|rd|th)) ){{1,3}}(?:{_STREET})\b\.?"
    r"(?:,? (?:Apt|Apartment|Unit|Suite|Ste|Flat|Room|#)\.? ?#?\w{1,6})?"
    r"|(?<![A-Za-z0-9_.,/-])\d{1,5} (?:[a-z]{3,15} ){1,2}(?:street|avenue|boulevard)\b"
    r"|\b(?:Flat|Apartment|Apt\.?|Unit|Suite) \d{1,4}[A-Za-z]?(?=,)"
    r"|(?i:\bP\.? ?O\.? ?Box) \d{1,6}"
    rf"|{_TOWN}(?<![A-Za-z0-9_-])(?:{_STATES}),? \d{{5}}(?:-\d{{4}})?(?![A-Za-z0-9_-]|[.,]\d)|(?<![A-Za-z0-9_.-])\d{{5}}-\d{{4}}(?![A-Za-z0-9_-])|(?i:\b(?:zip|postal|post) ?code:? )[A-Z0-9 -]{{4,8}}\b"
    rf"|{_TOWN}(?<![A-Za-z0-9_-]){_POSTCODE.replace(' ?', ' ')}(?![A-Za-z0-9_-])"
    r"|(?<![A-Za-z0-9_-])[ABCEGHJ-NPRSTVXY]\d[A-Z] \d[A-Z]\d(?![A-Za-z0-9_-])"
    # Hauptstraße 12, 50667 Köln
    rf"|\b(?:[{UP}][\w-]{{1,30}}(?:straße|strasse|str\.|platz|allee|gasse|damm)|[{UP}][\w-]{{1,30}}[ -](?:Straße|Strasse|Str\.|Weg|Platz|Allee|Ring))"
    rf" \d{{1,4}}[a-z]?\b(?:,? (?:[A-Z]{{1,2}}-)?\d{{4,5}} {_CAPITAL})?"
    # 12 rue de la Paix, 75002 Paris
    rf"|(?<![A-Za-z0-9_.,/-])\d{{1,4}}(?: ?(?:bis|ter))?,? (?:[Rr]ue|[Aa]venue|[Bb]oulevard|[Bb]d|[Pp]lace|[Cc]hemin|[Ii]mpasse|[Aa]llée|[Rr]oute|[Qq]uai)"
    rf" (?:de la |de l['’]|de |du |des |d['’])?{_CAPITAL}(?: {_CAPITAL}){{0,3}}(?:,? \d{{5}} {_CAPITAL})?"
    # Calle Mayor 5, Via Roma 12, Rua Augusta, 100
    rf"|\b(?:[Cc]alle|C/|Avda\.?|Avenida|Plaza|Paseo|[Vv]ia|Viale|Piazza|Corso|Rua|Travessa) (?:(?:de |del |de la |della |da |do |dos ){{0,2}}{_CAPITAL} ?){{1,4}}"
    r",? ?(?:n[º°.]? ?)?\d{1,4}\b(?:,? \d{5} [A-ZÀ-Þ]\w+)?"
    # any road 12, 12345 Town; Town, 12345; 1234 AB, Town
    rf"|{_AT_ITS_START}(?:{_DE_LA}{_CAPITAL}[ -]?){{1,5}},? \d{{1,4}}(?:[-/]\d{{1,4}})?[a-z]?(?: [^,\n]{{1,20}})?,? ?,?"
    rf"(?:(?: {_CAPITAL})+?,)? (?:[A-Z]{{1,2}}-)?(?:\d{{5}}(?:-\d{{3}})?|\d{{4}} ?[A-Z]{{2}}\b),? {_CAPITAL}"
    rf"|\b(?:rue|avenue|boulevard|chemin|impasse|allée|route|quai|place) {_DE_LA}{_CAPITAL}(?: {_CAPITAL}){{0,3}},? \d{{5}} {_CAPITAL}"
    rf"|\b[{UP}]\w{{2,30}}(?:straat|laan|dreef|plein|singel|kade|gracht|steeg) \d{{1,4}}[a-z]?\b"
    # 浙江省杭州市西湖区文三路100号5栋301室
    r"|(?:家住|现住|住在|住于|住)?(?P<place>(?>(?:[一-龥]{2,7}?(?:省|自治区|市|区|县|镇|乡|街道|村)){0,5})[一-龥]{1,8}?(?:(?<![通旁回])路|街|大道|巷|弄|胡同)[\dA-Za-z]{1,5}(?:号|弄|座|栋)(?:[\dA-Za-z一-龥-]{0,14}(?:室|单元|楼|栋|号|座))?)"
)
_ADDRESS_WORDS = re.compile(
    r"(?:家住|现住|住在|住于|住)?(?P<region>[一-龥]{2,7}?(?:省|自治区)[一-龥]{2,8}?(?:市|区|县|州)(?:[一-龥]{2,6}?(?:区|县|镇|乡|村))?)"
    r"|(?:住址|地址|籍贯|户籍|出生地|工作单位|户口所在地)\s?[:：]\s?(?P<han>[^\s,，。;；]{2,40})"
    r"|(?i:\b(?:home |postal |mailing |street )?(?:address|adresse|dirección|indirizzo|endereço)\s?[:=]\s?"
    r"|\b(?:lives|living|residing|resides) at |\bdomicili(?:o|é|ée|ato|ada)? (?:en |à |in )?|\bresidente? (?:in|en|em) |\breside em |\bdemeurant (?:au )?|\bwohnhaft (?:in )?|\bwoont (?:in |op )?)"
    rf"(?P<address>(?=[^.;:\n]{{0,45}}\d)[^;:\n]{{3,80}}?(?:\b\d{{5}}(?:-\d{{3,4}})?\b|\b{_POSTCODE}\b|\b\d{{4}} ?[A-Z]{{2}}\b)|(?=[^.;:\n]{{0,30}}\d)(?:(?:{_CAPITAL}|[\d/-]++[a-z]?|{_DE_LA})[, ]{{0,2}}){{1,10}})"
)


PLACES: Patterns = (("ADDRESS", _ADDRESS, None),)  # all with digits
LABELLED: Patterns = (("ADDRESS", _ADDRESS_WORDS, None),)
