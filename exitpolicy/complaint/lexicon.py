# ruff: noqa: RUF001
# The words of reports in a dozen languages are what this module is.
"""The words by which reports tell who did it from whom it was done to.

Words, not senders: a word counts the same whoever writes it. Stems match the beginning of a
word, so `angegriff` is `angegriffen` and `angegriffene`, and `dst` is `dstip` and `dst_port`.
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final


class Role(Enum):
    """What an address does in a report."""

    SOURCE = "source"
    DESTINATION = "destination"


class Force(Enum):
    """How surely a word tells the role of the address after it, by kind of word."""

    LABEL = 90
    """`destination`, `src`: columns and keys."""
    OWNER = 78
    """`our`, `your`."""
    WORD = 72
    """`attacked`, `infected`."""
    PREPOSITION = 60
    """`from`, `to`, directly before an address."""


@dataclass(frozen=True, slots=True)
class Sense:
    """What a word says about the address that it stands beside."""

    role: Role
    force: Force


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SOURCE_STEMS: Final = """
src source sourc attacker attackant offend perpetrat origin abuser abusing intruder malicious
infected
compromised hostile client remote rhost peer scanner culprit suspect reported saddr raddr
infizier
quell angreifer angreifend verursach täter herkunft absenderip ursprung auffällig gemeldet
sorgente attaccante provenien aggressore mittenteip segnalat origine incriminat infett
attaquant agresseur émetteur provenance emetteur signalé incriminée incriminé
origen atacante infractor agresor emisor ofensor denunciad infectad
origem agressor ofensora denunciado invasor
bron aanvaller herkomst dader
źród zrodl atakując atakujac napastnik sprawc agresor zgłoszon
источник атакующ нападающ злоумышленник отправител исходящ нарушител
zdroj útočník utocnik útočíc
käll angripare avsändar
kilde angriber angriper lähde hyökkääj forrás támadó kaynak saldırgan sursa atacator
"""
_DESTINATION_STEMS: Final = """
dst dest target victim attacked attackee scanned probed targeted daddr laddr honeypot
honeypots sensor
ziel opfer angegriff betroffene zielsystem attackiert geschädigt
destinat bersaglio vittima obiettivo attaccat colpit aggredit bersagli
cible ciblé cible visé visée victime attaqué attaquée destinataire
destino objetivo víctima victima atacad afectad blanco
alvo vítima vitima
doel slachtoffer aangevallen
docelow atakowan zaatakowan ofiar
цел жертв назначен получател атакуем атакован целев подверг пострадавш
cíl cíle cílov obět napaden cilov
destination målet måladress offer drabbad måltavla utsatt
ofre impact recipient dirigid dirett palvelime palvelimemme kohde uhri célpont áldozat hedef
kurban ținta victimă
"""
_SOURCE_WORDS: Final = {
    "rip", "cip", "orig", "attacking", "scanning", "fromip",
    "sip", "helo", "ehlo", "actor", "originator", "sport", "spt",
}  # fmt: skip
_DESTINATION_WORDS: Final = {
    "lip", "resp", "dip", "toip", "c2", "cnc",
    "dport", "dpt", "mål", "cel", "local", "listen", "listening",
    "vhost", "encontre", "danni", "confronti", "отношении", "operate", "betreibe", "betreiben",
    "gestisco",
}  # fmt: skip
_YOUR: Final = _words(
    """your yours ihr ihre ihrer ihrem ihren eurer eure eurem dein deine deiner deinem vostro vostra
    vostri vostre suo sua tuo votre vos ton sus vuestro vuestra tu tus vosso vossa seu sua uw
    jullie
    je twój twoja twojego twojej twoim państwa państwem wasz wasza waszego waszej waszym ваш
    ваша
    вашего вашей вашем вашим вашої вашій вашому вашого вашу váš vaše vaší vašeho vašem vašich
    vašeho tvé din ditt dina
    er ert
    deres jeres teidän sizin dumneavoastră"""
)
_OUR: Final = _words(
    """our ours my mine unser unsere unserer unserem unseren unseres mein meine meiner meinem meinen
    nostro nostra nostri nostre mio mia notre nos mon ma mes nuestro nuestra nuestros nuestras
    mi mis
    nosso nossa nossos nossas meu minha ons onze mijn nasz nasza naszego naszej naszym nasze
    naszych mój
    moja mojego moim mojej наш наша наше нашего нашей нашем нашим нашу наши нашого нашому нашій
    нашої мой моя мою моего
    моему
    моем нашему náš naše naší našeho našem našemu našim můj moje mého mém vår vårt våra min
    mitt mina
    vores meidän mienk bizim nostru noastră"""
)
_FROM: Final = _words(
    """from by via von vom aus durch da dal dalla dallo dall dai depuis par desde por van vanaf
    vanuit door od ze z ot от с со из från av fra originating émanant coming"""
)
_TO: Final = _words(
    """to on at against towards toward into onto auf gegen nach zu zum zur către verso contro sul
    sulla
    sull al alla all ai vers contre sur à au aux hacia contra al en para ao no na naar op
    tegen aan na
    przeciw przeciwko против на к ко до по proti k ke mot till på til mod targeting
    hitting"""
)
# Two words in two languages: what they say directly before an address, and further off.
_TWOFOLD: Final = {
    "su": (Role.DESTINATION, Sense(Role.SOURCE, Force.OWNER)),  # Italian on, Spanish your
    "do": (Role.DESTINATION, Sense(Role.SOURCE, Force.PREPOSITION)),  # Polish to, Portuguese of
    "an": (Role.DESTINATION, None),  # German to, English article
    "a": (Role.DESTINATION, None),  # Italian to, English article
    "à": (Role.DESTINATION, None),
    "attacking": (Role.DESTINATION, None),
    "scanning": (Role.DESTINATION, None),
    "probing": (Role.DESTINATION, None),
}
_BREAKS: Final = re.compile(
    "detect|observ|logged|regist|record|saw|seen|notic|found|receiv|block|bann|identif|erkann|erkenn"
    "|festgestell|bemerk|rilev|riscontr|détect|constat|remarqu|bloqu|bloc|recib|wykry|zaobserw|zanotow"
    "|обнаруж|зафиксир|выявл|заблокир|zaznam|detek|zjist|upptäck|gespe|blockier|respond|reply|contact"
    "|see$|visit|check"
)
_FILLERS: Final = _words(
    """the ip ips address addresses addr host hosts adresse adressen l d der die das dem den des
    server servers serveur servers servidor server's machine system systems systeme router
    ipv4 ipv6 adres adresu adresy adresa adresse adressen indirizzo indirizzi dirección
    direccion
    direcciones endereço endereco адрес адреса адресу адресом ип сервер сервера серверу хост
    хоста
    hôte hote il lo la le les el los las o os de di del della dei degli du des dos das het
    host's number network netz netzwerk rete réseau
    red rede sieć sieci сеть сети síť sítě nätverk nätet tcp udp port ports porte porta puerto
    poort
    порт und and or und e et y i и id name adressa adrese serveru server serwer serwera serverem
    machines mail web website site webserver mailserver ssh vpn ftp dns rdp systemen servidores
    public öffentliche pubblico publique pública publico pública publiczny internet service of
    with
    following folgende folgenden seguenti seguente suivantes suivante siguientes following:
    mit is was
    are following addresses namely called unter sous customer customers kunden kunde cliente
    clienti
    clienta client clients klient klienta klienten kund kunds klientu klientovi kundens abonné"""
)

_PLAIN: Final[tuple[tuple[frozenset[str], Sense | None], ...]] = (
    (_YOUR, Sense(Role.SOURCE, Force.OWNER)),
    (_OUR, Sense(Role.DESTINATION, Force.OWNER)),
    (_TO, Sense(Role.DESTINATION, Force.PREPOSITION)),
    (_FROM, Sense(Role.SOURCE, Force.PREPOSITION)),
    (_FILLERS, None),
)

_CJK: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def _cjk(pattern: str, role: Role, force: Force) -> tuple[re.Pattern[str], Sense]:
    return re.compile(pattern), Sense(role, force)


_CJK_SENSES: Final = (
    _cjk(
        r"送信元|攻撃元|発信元|接続元|発信|アクセス元|ソース|源地址|源IP|来源|攻击者|攻击源|攻击IP"
        r"|源端口|犯人|不審|발신|출발지|공격자|来源IP|源",
        Role.SOURCE,
        Force.LABEL,
    ),
    _cjk(
        r"宛先|送信先|攻撃先|接続先|被害|ターゲット|対象|あて先|アクセス先|目的|目标|受害|被攻击"
        r"|被扫描|目標|피해|목적지|대상",
        Role.DESTINATION,
        Force.LABEL,
    ),
    _cjk(
        r"貴社|貴組織|貴ネットワーク|御社|貴管理|貴|贵|您的|你们|你的|귀사",
        Role.SOURCE,
        Force.OWNER,
    ),
    _cjk(
        r"弊社|当社|弊組織|当組織|自社|当サーバ|弊|私の|私ども|我们|我方|我司|本公司|我的|本站|우리"
        r"|당사",
        Role.DESTINATION,
        Force.OWNER,
    ),
    _cjk(r"来自|从|来源于|由", Role.SOURCE, Force.PREPOSITION),
    _cjk(r"针对|对|向|攻击了|扫描了", Role.DESTINATION, Force.PREPOSITION),
)
_AFTER_CJK: Final = (
    (re.compile(r"\s?(?:（[^）]{0,20}）)?\s?(?:から|より|からの|에서)"), Role.SOURCE),
    (re.compile(r"\s?(?:（[^）]{0,20}）)?\s?(?:への|へ|に対|に向|宛"
        r"|あて|を攻撃|を対象|에 대한|로)"),
     Role.DESTINATION),
)  # fmt: skip


def _stems(text: str) -> re.Pattern[str]:
    return re.compile("|".join(sorted(set(text.split()), key=len, reverse=True)))


_SOURCE_STEM: Final = _stems(_SOURCE_STEMS)
_DESTINATION_STEM: Final = _stems(_DESTINATION_STEMS)
# Verbs in the stems above, which say less than the names of columns do.
_VERBAL: Final = re.compile(
    "malicious|infect|infiz|infett|compromis|hostile|reported|segnalat|gemeldet|suspect|offend|abus"
    "|attack|scann|prob|target|angegriff|betroff|attackiert|attaccat|colpit|visé|ciblé|attaqu|atacad"
    "|afectad|aangevallen|zaatak|atakowan|napaden|drabbad|utsatt|подверг|атакован|against|signal"
    "|sensor|honeypot|zgłoszon|denunci|auffäll"
)

WORD: Final = re.compile(r"[^\W_]+")
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def words_of(text: str) -> list[str]:
    """Split into words in lower case; `dstIp`, `dst_ip` and `dst-ip` are two words each."""
    return WORD.findall(_CAMEL.sub(" ", text).lower())


def sense_of(word: str, *, adjacent: bool = False) -> Sense | None:
    """Return what a lower-case word says, or None for one that says nothing.

    `adjacent`: whether the word stands directly before the address.
    """
    if word in _TWOFOLD:
        near, far = _TWOFOLD[word]
        return Sense(near, Force.PREPOSITION) if adjacent else far
    for words, sense in _PLAIN:
        if word in words:
            return sense
    return _cjk_sense(word) if _CJK.search(word) else label_of(word)


@lru_cache(maxsize=8192)
def label_of(word: str) -> Sense | None:
    """Return what a word says as the name of a column or a key."""
    for words, stem, role in (
        (_DESTINATION_WORDS, _DESTINATION_STEM, Role.DESTINATION),
        (_SOURCE_WORDS, _SOURCE_STEM, Role.SOURCE),
    ):
        if word in words or stem.match(word):
            return Sense(role, Force.WORD if _VERBAL.match(word) else Force.LABEL)
    return _cjk_sense(word) if _CJK.search(word) else None


_SYSTEM: Final = re.compile(r"asn?\d{3,6}\Z")


def breaks_off(word: str) -> bool:
    """Tell whether a word separates an address from what was said before it.

    In "our sensor detected A", `our` is not about A.
    """
    return _BREAKS.match(word) is not None


def is_ours(word: str) -> bool:
    """Tell whether a word calls what follows the reporter's own."""
    return word in _OUR


def is_filler(word: str) -> bool:
    """Tell whether a word says nothing about the address that it stands beside."""
    return (
        word in _FILLERS
        or word in _TWOFOLD
        or word.isdigit()
        or len(word) == 1
        or bool(_SYSTEM.match(word))
    )


def sense_after(text: str) -> Role | None:
    """Return what a particle directly after an address says, in languages that put it there."""
    for pattern, role in _AFTER_CJK:
        if pattern.match(text):
            return role
    return None


def _cjk_sense(word: str) -> Sense | None:
    """Return the sense of the last telling part of words that are written without spaces."""
    best: tuple[int, Sense] | None = None
    for pattern, sense in _CJK_SENSES:
        for found in pattern.finditer(word):
            if best is None or found.end() > best[0]:
                best = (found.end(), sense)
    return best[1] if best else None
