"""Made-up notes, and what in them identifies."""

from __future__ import annotations

import random
from collections.abc import Iterator

from faker import Faker

MONTHS = {
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
}
SHORT = {
    "de": "Jan. Feb. Mär. Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez.",
    "fr": "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
    "es": "ene feb mar abr may jun jul ago sep oct nov dic",
}
NOTES = {
    "en": {
        "NAME": [
            "Mr {last} reports",
            "Dr. {first} {last} saw him",
            "Patient: {first} {last}.",
            "Name: {last}, {first}",
            "signed by {first} {last}",
        ],
        "BARE": ["{first} {last} reports", "seen with {first} {last} today"],
        "DATE": ["on {}", "since {}", "DOB {}"],
        "PHONE": ["call {}", "reach her at {}"],
        "RECORD": ["MRN {}", "hospital number {}", "ID: {}"],
        "ADDRESS": ["lives at {}", "address: {}"],
        "EMAIL": ["writes from {}"],
        "URL": ["see {}"],
    },
    "de": {
        "NAME": ["Herr {last} klagt", "Frau Dr. {last}", "gez. Dr. med. {last}", "OA Prof. Dr. med. {first} {last}"],
        "DATE": ["am {}"],
        "PHONE": ["Tel. {}"],
        "EXTENSION": ["Tel. {}", "Durchwahl {}"],
        "RECORD": ["Fallnummer {}", "Fallnr. {}", "Pat.-Nr.: {}", "Aufnahme-Nr. {}"],
    },
    "fr": {
        "NAME": ["Mme {last}", "Dr {first} {last}", "vu par le docteur {last}", "Professeur {first} {last}"],
        "DATE": ["le {}"],
        "PHONE": ["joignable au {}"],
        "EXTENSION": ["poste {}", "bip {}"],
        "RECORD": ["IPP {}", "N° de séjour : {}", "n° patient {}"],
    },
    "es": {
        "NAME": ["Sra. {last}", "Paciente: {first} {last}.", "El Sr. {last} refiere", "la doctora {last}", "Dña. {first} {last}"],
        "DATE": ["el {}"],
        "PHONE": ["teléfono {}"],
        "RECORD": ["NHC {}", "nº de historia clínica {}"],
    },
    "zh": {
        "NAME": [
            "姓名：{last}{first}，",
            "患者{last}{first}，男，",
            "患者{last}{first}自诉头痛，",
            "{last}大夫查房",
            "主治医师{last}{first}查房",
        ],
        "DATE": ["于{}入院"],
        "PHONE": ["电话{}"],
        "RECORD": ["住院号{}"],
    },
}
LOCALES = {"en_US": "en", "en_GB": "en", "de_DE": "de", "fr_FR": "fr", "es_ES": "es", "zh_CN": "zh"}
AROUND = {"en": ("54 yo with COPD,", "started 5 mg lisinopril."), "zh": ("因胸痛,", "血压120/80mmHg。")}


def notes(seed: int, count: int) -> Iterator[tuple[str, str, list[str]]]:
    """(kind, note, what must not be left in it)."""
    rng = random.Random(seed)
    fakers = {locale: Faker(locale) for locale in LOCALES}
    for fake in fakers.values():
        fake.seed_instance(seed)
    for _ in range(count):
        locale = rng.choice(list(LOCALES))
        language, fake = LOCALES[locale], fakers[locale]
        kind = rng.choice(list(NOTES[language]))
        template = rng.choice(NOTES[language][kind])
        if kind in ("NAME", "BARE"):
            first, last = fake.first_name(), fake.last_name()
            told = template.format(first=first, last=last)
            secrets = [name for name, field in ((first, "{first}"), (last, "{last}")) if field in template]
        else:
            secrets = [_secret(kind, language, fake, rng)]
            told = template.format(secrets[0])
        lead, tail = AROUND.get(language, ("HTA,", "5 mg."))
        yield kind, f"{lead} {told} {tail}", secrets


def _secret(kind: str, language: str, fake: Faker, rng: random.Random) -> str:
    if kind == "DATE":
        day = fake.date_between("-90y", "today")
        if language == "zh":
            return rng.choice([f"{day.year}年{day.month}月{day.day}日", f"{day:%Y-%m-%d}", f"{day.month}月{day.day}日"])
        if language == "en":
            return rng.choice([f"{day:{form}}" for form in ("%d/%m/%Y", "%m/%d/%y", "%B %d, %Y", "%d %b %Y", "%d-%b-%y", "%B %Y", "%d %B")])
        return rng.choice(
            [
                f"{day:%d.%m.%Y}",
                f"{day:%d/%m/%y}",
                f"{day.day}{'.' * (language == 'de')} {MONTHS[language].split()[day.month - 1]} {day.year}",
                f"{day.day}{'.' * (language == 'de')} {SHORT[language].split()[day.month - 1]} {day.year}",
                {
                    "de": f"{day:%d.%m.}-{day:%d.%m.%y}",
                    "fr": f"{day:%d/%m/%Y}",
                    "es": f"{day.day}-{SHORT['es'].split()[day.month - 1]}-{day:%y}",
                }[language],
            ]
        )
    if kind == "RECORD":
        return fake.bothify(
            rng.choice(["########", "######", "??######", "A##-#####", "###### / ##", "####-####-##", "#######"]), letters="ABCDEFGH"
        )
    if kind == "EXTENSION":
        return fake.bothify("####")
    made = {"PHONE": fake.phone_number, "ADDRESS": fake.address, "EMAIL": fake.email, "URL": fake.uri}[kind]()
    return made.split("\n")[0] if kind == "ADDRESS" else made
