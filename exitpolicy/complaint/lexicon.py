# ruff: noqa: RUF001
# The words of reports in a dozen languages are what this module is.
"""The words by which reports tell who did it from whom it was done to.

Words, not senders: a word counts the same whoever writes it. Stems match the beginning of a
word, so `angegriff` is `angegriffen` and `angegriffene`, and `dst` is `dstip` and `dst_port`.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from exitpolicy.complaint.finding import Force, Role


@dataclass(frozen=True, slots=True)
class Sense:
    """What a word says about the address that it stands beside."""

    role: Role
    force: Force


def words(text: str) -> frozenset[str]:
    """Return the words that a text holds, to look one up in."""
    return frozenset(text.split())


_SOURCE_STEMS: Final = """
مبدا مبدأ منبع مهاجم المهاجمة מקור המקור תוקף התוקף
πηγή επιτιθέμεν δράστη sumber penyerang pelaku източник нападател útočiac izvor napadač užpuolik
šaltin avots avota allik ründaj nguồn المصدر مصدر المهاجم
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
προορισμ στόχο θύμα tujuan korban sasaran diserang жертва целева cieľ obeť napadnut odrediš cilj
žrtv
napadnut taikin nukentėj mērķ upur sihtm ohver rünnat đích الهدف المستهدف الضحية
perjudicad schaden geschäd
مقصد هدف قربانی المستهدفة יעד היעד הנתקף הקורבן controller
affected impacted betroffen touché interessat getroffen gerakte dotčen berört berørt érintett
затронут постражда локальн local
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
lport localport
ofre impact recipient dirigid dirett palvelime palvelimemme kohde uhri célpont áldozat hedef
kurban ținta victimă
"""
LANGUAGES: Final = words(
    "en de it fr es pt nl pl cs sk sv da no fi hu ro tr ru uk bg el id hr sl lt ja zh ko"
)
"""Those whose words are known well enough that a sentence without any of them says nothing."""
MAX_SENTENCE: Final = 600
"""Characters of a sentence that are searched for words: what is longer is none."""
_BYSTANDER_STEMS: Final = """
resolver konsol console consol consola consolle консол rescue kvm ipmi idrac novnc
panel pannell panneau панел dashboard webpanel kundenpanel whitelist allowlist freischalt lookup
looking blacklist blocklist dnsbl delist delisting tracker trackers netmask netzmaske broadcast
traceroute mirror unsubscribe rezolver резолвер имён имен
名前解決 リゾルバ コンソール 管理画面 控制台
"""
"""Words for hosts that only stand by, whoever acts on whom."""
_STANDBY: Final = re.compile(
    r"tempor|ersatz|name-?servers?$|nameserver|(?:mail)?gateways?$|gateway|passerell|puerta$"
    r"|шлюз|brána$|bramk|relay|relais|smarthost|proxy|proxies|mx\d{0,2}$|mailserver|mailhub"
    r"|smtp$|dns$|monitor|überwach|sorveglian|surveillan|vigilan|мониторинг|sensor|sond[aey]"
    r"|office|büro|ufficio|bureau|oficina|escritório|kantoor|biur|офис|kancel|kontor|vpn|ticket"
    r"|helpdesk|support|assist|portal|intranet|backup|reporter$|report$|scanner|crawler|checker"
    r"|probe$|probes$|ntp|syslog|log-?host|log-?server|collector|kollektor|siem$|nagios|zabbix"
    r"|监控|监测|監視|网关|ゲートウェイ|中継"
)
"""Hosts that may have been attacked as well as any, and often are named for another reason."""
_ACTING: Final = re.compile(
    r"επίθεσ|επιθέσ|σάρωσ|προσπάθ|εισβολ|κωδικ|serang|memindai|pemindai|percobaan|сканир|опит"
    r"|napad|prijav|skenav|atakav|ründ|tấn công|mật khẩu|\bdò\b|quét|هجوم|هجمات|اختراق|محاول"
    r"|مسح|מתקפ|התקפ|סריק|โจมตี|attempt|versuch|tentativ|intent[oa]|tentat|poging|prób|попыт"
    r"|спроб|pokus|försök|forsøg|yrit|kísérl|încerc|denem|試行|尝试|시도|hitting|\btent(?:e|ent"
    r"|ant|a|ano|ando)\b|devin(?:er|é|ant)|essai|fraud|estafa|betrug|truff|frod|escroq|oszust"
    r"|мошен|schwind|\bhits?\b|stuffing|explor|unblock|is blocked|gesperrt|bloccat|bloqué"
    r"|bloquead|заблок|geblokkeerd|zablok|atak|card(?:ing|-test)|attac|attaq|atta[ck]k|angr[ie]"
    r"|angegr|angrep|ataq|ataca|atak|aanval|aangeval|атак|úto[kč]|támad|hyökk|saldır|攻|공격"
    r"|scan|\bskan|portskan|скан|sken|escan|varr|balay|brute|brut|hammer|flood|dd?os\b"
    r"|prob(?:ed|ing)|exploit(?!ation)|exploitation de|inject|iniez|inyec|inje[cç]|log-?ins?\b"
    r"|logged? in|log(?:ging)? in|anmeld|einlog|inlog|logow|вход|přihl|logg|kirjaut|bejelent"
    r"|passw|parol|парол|senha|contraseñ|mot de passe|hasł|hesl|lösen|guess|target|victim|opfer"
    r"|vittim|víctim|vítim|жертв|ofiar|oběť|slachtoff|intru|hack|взлом|break in|einbr"
    r"|einzudring|intrus|compromis|malicious|hostile|unauthor|unbefug|non autoriz|no autoriz"
    r"|não autoriz|несанкц|неправомерн|spam|abus|missbrauch|misbruik|desatt|подбор|перебор"
    r"|ломят|ломит|стуч|долб|connect(?:ed|ing|ion)|verb(?:indung|unden)|conness|connexion"
    r"|conexi|conexõ|połącz|соединен|подключ|spojení|requests|anfragen|richieste|requêt"
    r"|peticiones|запрос|żąda|požadav|förfråg|malware|infect|botnet|beacon|talk(?:s|ing)? to"
    r"|contact(?:s|ed|ing) |sinkhol|trojan|\brat\b|\bc2\b|c&c|swe(?:pt|ep)|pok(?:e|ing)\b"
    r"|bestook|beslag|dringen|indtræng|trusl|iskorišt|skenir|ranjiv|โจม|บุก|نفوذ|حمله|לפרוץ"
    r"|ניסיונ|暴力|扫描|スキャン|入侵|ログイン|登录|爆破|不正|침입|로그인|스캔",
)
_SOURCE_WORDS: Final = {
    "foreign",
    "rip", "cip", "rport", "orig", "attacking", "scanning", "fromip",
    "sip", "helo", "ehlo", "actor", "originator", "sport", "spt",
}  # fmt: skip
_DESTINATION_WORDS: Final = {
    "lip", "resp", "dip", "toip", "c2", "cnc",
    "dport", "dpt", "mål", "cel", "local", "listen", "listening",
    "vhost", "encontre", "danni", "confronti", "отношении", "operate", "betreibe", "betreiben",
    "gestisco", "bị", "nhân", "ресурса", "куда",
}  # fmt: skip
_YOUR: Final = words(
    """σας anda вашия вашата вашият вашето vašej vašu vašeg vašoj jūsų jūsu teie quý your yours
    ihr ihre ihrer ihrem ihren eurer eure eurem dein deine deiner deinem vostro vostra
    vostri vostre suo sua tuo votre vos ton sus vuestro vuestra tu tus vosso vossa seu sua uw
    jullie
    je twój twoja twojego twojej twoim państwa państwem wasz wasza waszego waszej waszym ваш
    ваша
    вашего вашей вашем вашим вашої вашій вашому вашого вашу váš vaše vaší vašeho vašem vašich
    vašeho tvé din ditt dina
    er ert
    deres jeres teidän sizin dumneavoastră"""
)
_OUR: Final = words(
    """μας kami нашия нашата нашият нашето nášho našu našeg mūsų mūsu meie tôi لدينا our ours my
    mine unser unsere unserer unserem unseren unseres mein meine meiner meinem meinen
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
_FROM: Final = words(
    """oleh από dari zo iz iš từ من from by via von vom aus durch da dal dalla dallo dall dai
    depuis par desde por van vanaf
    vanuit door od ze z ot от с со из från av fra originating émanant coming"""
)
_TO: Final = words(
    """προς στον στην στο στους στις κατά εναντίον ke terhadap pada към срещу prema prieš į vào
    tới đến
    إلى ضد على to on at against towards toward into onto auf gegen nach zu zum zur către verso
    contro sul
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
    "|εντοπίσ|καταγρά|mendeteksi|mencatat|ghi nhận|رصد|открих|zabilj|tuvast"
    "|обнаруж|зафиксир|выявл|заблокир|zaznam|detek|zjist|upptäck|gespe|blockier|respond|reply|contact"
    "|see$|visit|check"
)
_FILLERS: Final = words(
    """category node nodename elastic sistem sistema sistemi the ip ips address addresses addr
    host hosts adresse adressen l d der die das dem den des
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

_CJK: Final = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def _cjk(pattern: str, role: Role, force: Force) -> tuple[re.Pattern[str], Sense]:
    return re.compile(pattern), Sense(role, force)


_CJK_SENSES: Final = (
    _cjk(r"ปลายทาง|เป้าหมาย|ผู้เสียหาย|เหยื่อ|ถูกโจมตี", Role.DESTINATION, Force.LABEL),
    _cjk(r"ต้นทาง|ผู้โจมตี|แหล่งที่มา", Role.SOURCE, Force.LABEL),
    _cjk(r"공격을 ?받|공격받|피해를", Role.DESTINATION, Force.LABEL),
    _cjk(
        r"送信元|攻撃元|発信元|接続元|発信|アクセス元|ソース|源地址|源IP|来源|攻击者|攻击源"
        r"|攻击IP|源端口|犯人|不審|발신|출발지|공격자|来源IP|源",
        Role.SOURCE,
        Force.LABEL,
    ),
    _cjk(
        r"宛先|送信先|攻撃先|接続先|被害|ターゲット|対象|あて先|アクセス先|目的|目标|受害"
        r"|被攻击|被扫描|目標|피해|목적지|대상",
        Role.DESTINATION,
        Force.LABEL,
    ),
    _cjk(
        r"貴社|貴組織|貴ネットワーク|御社|貴管理|貴|贵|您的|你们|你的|귀사",
        Role.SOURCE,
        Force.OWNER,
    ),
    _cjk(
        r"弊社|当社|弊組織|当組織|自社|当サーバ|弊|私の|私ども|我们|我方|我司|本公司|我的|本站"
        r"|우리|당사",
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
_BYSTANDER_STEM: Final = _stems(_BYSTANDER_STEMS)
# Verbs in the stems above, which say less than the names of columns do.
_VERBAL: Final = re.compile(
    "malicious|infect|infiz|infett|compromis|hostile|reported|segnalat|gemeldet|suspect|offend|abus"
    "|attack|scann|prob|target|angegriff|betroff|attackiert|attaccat|colpit|visé|ciblé|attaqu|atacad"
    "|afectad|aangevallen|zaatak|atakowan|napaden|drabbad|utsatt|подверг|атакован|against|signal"
    "|sensor|honeypot|zgłoszon|denunci|auffäll"
)

WORD: Final = re.compile(r"[^\W_]+")
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


_JOINED: Final = re.compile(r"\bname[ -]servers?\b|\bc&c\b|\bcommand (?:and|&) control\b")


def _join(found: re.Match[str]) -> str:
    return "nameserver" if found[0].startswith("name") else "c2"


def words_of(text: str) -> list[str]:
    """Split into words in lower case; `dstIp`, `dst_ip` and `dst-ip` are two words each."""
    return WORD.findall(_JOINED.sub(_join, _CAMEL.sub(" ", text).lower()))


def sense_of(word: str, *, adjacent: bool = False) -> Sense | None:
    """Return what a lower-case word says, or None for one that says nothing.

    `adjacent`: whether the word stands directly before the address.
    """
    if word in _TWOFOLD:
        near, far = _TWOFOLD[word]
        return Sense(near, Force.PREPOSITION) if adjacent else far
    for plain, sense in _PLAIN:
        if word in plain:
            return sense
    return _cjk_sense(word) if _CJK.search(word) else label_of(word)


@lru_cache(maxsize=8192)
def label_of(word: str) -> Sense | None:
    """Return what a word says as the name of a column or a key."""
    if _BYSTANDER_STEM.match(word):
        return Sense(Role.BYSTANDER, Force.LABEL)
    for listed, stem, role in (
        (_DESTINATION_WORDS, _DESTINATION_STEM, Role.DESTINATION),
        (_SOURCE_WORDS, _SOURCE_STEM, Role.SOURCE),
    ):
        if word in listed or stem.match(word):
            return Sense(role, Force.WORD if _VERBAL.match(word) else Force.LABEL)
    return _cjk_sense(word) if _CJK.search(word) else None


_SYSTEM: Final = re.compile(r"asn?\d{3,6}\Z")


def breaks_off(word: str) -> bool:
    """Tell whether a word separates an address from what was said before it.

    In "our sensor detected A", `our` is not about A.
    """
    return _BREAKS.match(word) is not None


def stands_by(word: str) -> bool:
    """Tell whether a word is for a host that is often named for another reason than an attack."""
    return _STANDBY.match(word) is not None


_LINKS: Final = re.compile(r"\bhttps?://[^\d\s]\S*")


def is_about_acting(text: str) -> bool:
    """Tell whether a sentence speaks of something that was done to somebody."""
    return _ACTING.search(_LINKS.sub(" ", text[:MAX_SENTENCE].lower())) is not None


def is_ours(word: str) -> bool:
    """Tell whether a word calls what follows the reporter's own."""
    return word in _OUR


_EXONERATED: Final = re.compile(
    r"\b(?:not|n't|nor|un)\s?(?:been\s)?(?:affected|touched|involved|attacked|the target"
    r"|a target|concerned|responsible)|unaffected|nothing to do|(?:are|is|was|were) (?:fine"
    r"|ok\b|okay|harmless|unrelated|legit)|not? .{0,20}in service|used to be|formerly"
    r"|previously (?:at|on)|decommission|switched off|turned off|no longer|old (?:server"
    r"|gateway|host|address|ip)|(?:please |can )?ignore|do(?: not|n't) (?:report|block|mistake"
    r"|confuse|reply)|for comparison|in case you|so don't|verschont|nicht betroffen|unbeteiligt"
    r"|nicht beteiligt|nichts (?:damit )?zu tun|in ordnung|ignorier|zum vergleich|falls (?:das"
    r"|die|sie)|frühere|ehemal|abgeschaltet|non (?:è|sono|era|erano) (?:stat\w )?(?:coinvolt"
    r"|colpit|interessat|toccat)|nulla a che|niente a che|tutto ok|ignorat|ignorar"
    r"|per confronto|dismess|spent[oi]|pas (?:concern|touch|visé|affect)|rien à voir|ignorez"
    r"|ignorer|pour compar|épargn|no (?:ha|han|está|están|fue"
    r"|fueron) (?:sido )?(?:tenido problemas|afectad|implicad)|nada que ver|não (?:foi|foram"
    r"|está|estão) (?:afetad|envolvid|atingid)|nada a ver|niet (?:getroffen|betrokken|geraakt)"
    r"|niets te maken|nie (?:został|są|jest|był)\w* (?:dotk|zaatak|objęt)|nie zgłasz|nie ma nic"
    r"|не (?:затронут|пострадал|относ|имеет отнош|участв)|ни при чём|nebyl\w* (?:zasaž|dotč"
    r"|napad)|nesouvis|inte (?:drabbad|berörd|påverk)|ikke (?:berørt|ramt|involver)|ei liity"
    r"|nem érint|영향이 없|영향은 없|無関係|影響(?:は|を受けて)|关係ありません|未受影响|无关",
)


def is_exonerating(clause: str) -> bool:
    """Tell whether a clause says that what it names has no part in the matter."""
    return _EXONERATED.search(clause.lower()) is not None


def is_agent(word: str) -> bool:
    """Tell whether a word says who did something or through whom: `by`, `from`, `via`."""
    return word in _FROM


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
