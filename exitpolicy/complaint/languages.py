# ruff: noqa: RUF001
# The frequent words of other alphabets are what this module is.
"""Which language the prose of a report is in: by its script, and by its most frequent words."""

import re
from typing import Final

_WORDS: Final = {
    "en": "the and of to is from you your this that we have has our with for are been please "
    "was not "
    "will be on address it by if at as an or any which on were by from time received see "
    "says regards hello "
    "dear attack attempts "
    "abuse server",
    "de": "der die das und ist von sie ihre ihr wir haben unser unsere mit für nicht wurde "
    "werden bitte auf "
    "von aus wird mein sind seit ihrem meine den dem ein eine einer bei zu im wurden "
    "guten tag sehr geehrte grüßen adresse diese "
    "dass angriff",
    "it": "il lo la di che è e un una per con non del della dei delle gli sono vostro vostra "
    "nostro nostra "
    "dell dal dalla alle ore nell questo questa abbiamo stato al alla si in cordiali "
    "saluti indirizzo "
    "buongiorno gentile ha",
    "fr": "le la les de des du et est un une pour avec dans que qui nous vous votre notre nos "
    "vos pas sur "
    "par ce cette au aux depuis bonjour cordialement adresse été avons veuillez en sont merci",
    "es": "el la los las de del y que es un una para con por en nuestro nuestra su sus se no ha "
    "han hemos "
    "desde esta este estimados saludos dirección gracias al le lo como está usted ustedes",
    "pt": "o a os as de do da dos das e que é um uma para com por em nosso nossa seu sua não "
    "foi foram "
    "desde esta este prezados atenciosamente endereço obrigado ao na no você sobre está "
    "partir nossos",
    "nl": "de het een en van is niet op met voor zijn wij u uw ons onze dat die door aan bij "
    "naar deze dit "
    "wordt werd geachte groet vriendelijke adres hebben heeft ik er te vanaf om",
    "pl": "i w z na do nie się jest że o od dla przez nasz nasze nasza państwa prosimy adres "
    "adresu został "
    "zostały oraz to są tym które pozdrawiam dzień dobry szanowni naszego serwer serwera po za",
    "cs": "a v z na do ne se je že o od pro naše náš vaší vaše prosím adresa adresy byl byla "
    "bylo jsme "
    "jsou nebo který která dobrý den pozdravem této tato ze ke k po s útok serveru naší",
    "sv": "och i att det som en på är av för med till den har de inte om ett vi vår ni er från "
    "vårt hej "
    "vänlig hälsning hälsningar adress adressen attack denna detta mot era ert servern",
    "da": "og i at det som en på er af for med til den har de ikke om et vi vores jeg fra hej "
    "venlig "
    "hilsen adresse mod denne jeres deres serveren blev være",
    "no": "og i at det som en på er av for med til den har de ikke om et vi vår fra hei vennlig "
    "hilsen "
    "adresse mot denne deres serveren ble være dere",
    "fi": "ja on ei että se joka me te meidän teidän ovat oli tämä kun mutta niin hei terveisin "
    "osoite "
    "osoitteesta ystävällisin palvelin hyökkäys olemme",
    "hu": "a az és hogy nem egy is van volt kérjük az önök szerver cím címről üdvözlettel "
    "tisztelt ezt "
    "mi támadás el meg",
    "ro": "și de la în cu nu este sunt pentru din un o pe care am adresa vă rugăm bună ziua "
    "serverul "
    "nostru dumneavoastră cele prin stimate",
    "tr": "ve bir bu için ile de da olarak adresi lütfen sunucu saldırı tarafından "
    "saygılarımızla merhaba "
    "bizim sizin olan adresinden",
    "ru": "и в на с не что по от для это как мы вы ваш наш нашего вашего адреса адрес был было "
    "к из о за "
    "уважением здравствуйте просим атака со нашей вашей",
    "uk": "і в на з не що по від для це як ми ви ваш наш нашого вашого адреси адреса було до із "
    "про за "
    "повагою вітаємо просимо атака та й є",
    "id": "yang dan di dari ke untuk dengan ini itu kami anda adalah tidak telah pada terima "
    "kasih alamat "
    "mohon segera hormat serangan upaya oleh",
    "vi": "của và các là có cho không được từ vào chúng tôi địa chỉ quý công ty trân trọng kính "
    "này đã với",
    "lt": "ir iš į dėl su yra jūsų mūsų prašome kad adreso adresas gautą sveiki pagarbiai ne per "
    "buvo tai",
    "lv": "un no uz par ar ir jūsu mūsu lūdzam ka adreses adrese sveiki cieņu tika šī kas",
    "et": "ja on ei et see teie meie palun aadressilt aadress tere lugupidamisega oma mis ning kui",
    "sk": "a v z na do nie sa je že o od pre naše náš vašej vaše prosíme adresa adresy bol bola "
    "bolo sme "
    "sú alebo ktorý dobrý deň pozdravom túto zo ku k po s útok servera",
    "sl": "in v z na do ne se je da o od za naš naša vaš vašega prosimo naslov naslova bil bila "
    "lep pozdrav "
    "so ali ki iz",
    "hr": "i u s na do ne se je da o od za naš naša vaš vaše vašeg molimo adresa adrese bio bila "
    "poštovani "
    "pozdrav su ili koji iz",
    "bg": "и в на с не че по от за това как ние вие ваш нашия адрес беше към из се са да моля "
    "атака",
}  # fmt: skip
_TABLE: Final[dict[str, tuple[str, ...]]] = {}
for _code, _text in _WORDS.items():
    for _word in set(_text.split()):
        _TABLE[_word] = (*_TABLE.get(_word, ()), _code)

_WORD: Final = re.compile(r"[^\W\d_]{1,20}")
_KANA: Final = re.compile(r"[\u3040-\u30ff]")
_HAN: Final = re.compile(r"[\u4e00-\u9fff]")
_SCRIPTS: Final = (
    ("ko", re.compile(r"[\uac00-\ud7a3]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
)
_UKRAINIAN: Final = re.compile(r"[іїєґІЇЄҐ]")
_KAZAKH: Final = re.compile(r"[әғқңөұүһӘҒҚҢӨҰҮҺ]")
_CYRILLIC: Final = re.compile(r"[\u0400-\u04ff]")
MIN_WORDS: Final = 2
"""Fewer frequent words than these tell no language."""
MAX_READ: Final = 20_000


def language_of(text: str) -> str | None:
    """Return the ISO 639-1 code of the language that most of a text is in."""
    text = text[:MAX_READ]
    kana, han = len(_KANA.findall(text)), len(_HAN.findall(text))
    scores: dict[str, float] = {}
    if kana >= 8:
        scores["ja"] = (kana + han) / 4
    elif han >= 8:
        scores["zh"] = han / 3
    for code, pattern in _SCRIPTS:
        count = len(pattern.findall(text))
        if count >= 12:
            scores[code] = count / 6
    _count_words(text, scores)
    cyrillic = len(_CYRILLIC.findall(text))
    if cyrillic >= 30:
        if len(_KAZAKH.findall(text)) * 20 > cyrillic:
            scores["kk"] = cyrillic / 6
        elif len(_UKRAINIAN.findall(text)) * 30 > cyrillic:
            scores["uk"] = scores.get("uk", 0) + cyrillic / 10
    if cyrillic >= 30 and not scores:
        return "ru"
    if not scores:
        return None
    best = max(scores, key=lambda code: scores[code])
    return best if scores[best] >= MIN_WORDS else None


def _count_words(text: str, scores: dict[str, float]) -> None:
    """Add up the frequent words of each language; a word of many languages counts less."""
    for word in _WORD.findall(text.lower()):
        codes = _TABLE.get(word, ())
        for code in codes:
            scores[code] = scores.get(code, 0) + 1 / len(codes) ** 0.5
