# The words of reports in other alphabets are what this module is.
"""What a report complains about, by the words in it, those of the subject counting most."""

import re
from typing import Final

from exitpolicy.complaint.model import Kind

_SUBJECT_WEIGHT: Final = 4
MAX_READ: Final = 40_000
_CAP: Final = 4
"""Repetitions of one word beyond this say nothing more: logs repeat themselves."""


def _words(kind: Kind, weight: int, pattern: str) -> tuple[Kind, int, re.Pattern[str]]:
    return kind, weight, re.compile(pattern, re.IGNORECASE)


_PATTERNS: Final = (
    _words(
        Kind.BRUTE_FORCE,
        3,
        r"brute[ -]?forc|bruteforc|fuerza bruta|força bruta|forza bruta"
        r"|force "
        r"brute"
        r"|hrubou silou|hrubé síly|siłow|подбор\w* парол|перебор\w* парол|грубой сил|брутфорс"
        r"|brut-?force"
        r"|ブルートフォース|総当|暴力破解|爆破|råstyrke|password guessing"
        r"|dictionary attack|login.?attack|log-?in failures?|contraseñas? (?:fals|incorr)"
        r"|credential stuffing|password spray|passwort-?rat|hádání hes|passwort.{0,12}errat",
    ),
    _words(
        Kind.BRUTE_FORCE,
        2,
        r"failed (?:password|login|logon|auth)|authentication failure"
        r"|auth(?:entication)? "
        r"fail"
        r"|(?:log|sign)[- ]?in attempts?|tr(?:y|ies|ied|ying) (?:to )?(?:log|guess|passwords)"
        r"|guess\w* .{0,12}passwords?|password(?:s)? guess|authenticator failed|access denied "
        r"for user|ssh guessing|로그인 시도|무차별|logg\w{0,2} (?:ind|inn|in)\b|kirjautumisyrity"
        r"|autentificare|kaba kuvvet|oturum açma|log-?in-?versuch|anmeldeversuch|tentativ\w+ "
        r"di (?:accesso|login)|tentativ\w+ (?:de|d') ?connexion"
        r"|intentos? de (?:acceso|inicio|login|autenti)|tentativas? de (?:login|acesso)"
        r"|inlogpoging|próby? (?:logowan|zalogow)"
        r"|попыт\w+ (?:входа|авторизац|подключ)|pokus\w* o (?:přihlášen|přístup)"
        r"|inloggningsförsök|ログイン試行|不正ログイン|登录尝试"
        r"|invalid user|sasl login|pam_unix|unauthori[sz]ed access attempt|ssh (?:attack|abuse"
        r"|scan)|ssh-?angriff|attacchi? ssh|attaques? ssh"
        r"|\bsshd\[|eventid 4625|mislukte aanmeld|nieudan\w+ (?:prób|logow)|innlogging"
        r"|(?:attack|angri|angreif|attacc|attaqu|ataqu|атак|útok)\w*.{0,60}\b(?:ssh|ftp|imap"
        r"|pop3|rdp|smtp|telnet|sip|vnc)\b|bejelentkez|不正アクセス",
    ),
    _words(
        Kind.PORT_SCAN,
        3,
        r"port[ -]?scan|portscan|netscan|net scan|network scan|scansion\w+ "
        r"(?:di "
        r"|delle "
        r")?port"
        r"|balayage de ports|scan de ports"
        r"|escaneo de puertos|varredura de portas|poortscan|skanowan\w+ port|сканирован\w+ "
        r"порт|skenov\w+ port|portskan|portscann"
        r"|ポートスキャン|端口扫描|端口掃描"
        r"|syn scan|port probe|scansion\w+ (?:di|delle|dei|su)\b|scansione "
        r"porte|host ?scan"
        r"|horizontal scan"
        r"|vertical scan|service probing"
        r"|scanning (?:of )?(?:our|multiple|ports)|portscanning|scanning activity|ポート探索"
        r"|포트 ?스캔"
        r"|session[ _]deny|session denied|information leak|\bscanned\b|\bscanning\b|escaneando"
        r"|gescannt",
    ),
    _words(
        Kind.PORT_SCAN,
        1,
        r"\bSYN\b|Flags \[S\]|deny tcp|denied (?:tcp|udp|by)|\bprobed\b|\bscans?\b|\bDROP\b"
        r"|block,in"
        r"|block "
        r"in"
        r"|\bknock|firewall (?:log|drop|block)|unsolicited (?:connection|packet|incoming)"
        r"|probes?\b|\[UFW BLOCK\]|DPT=",
    ),
    _words(
        Kind.WEB_ATTACK,
        3,
        r"sql[ -]?injection|sqli\b|cross[- ]site|\bxss\b|web (?:attack"
        r"|application"
        r"|app "
        r"attack)"
        r"|webangriff|directory traversal|path traversal"
        r"|remote file inclusion|\blfi\b|\brfi\b|web ?shell|exploit attempt|vulnerability scan"
        r"|mod_?security|\bwaf\b|web scan|explora[cç]\w+ web|log4j|log4shell"
        r"|shellshock|rce attempt|remote code|attacchi? web|attaque web|ataque web|веб-атак"
        r"|атак\w+ на (?:веб-?)?сайт|webový\w* útok|webattack|inyecci[oó]n"
        r"|injeção|iniezione|sql-?инъекц|sql インジェクション"
        r"|sqlインジェクション|sql注入|脆弱性スキャン|漏洞扫描|scraping"
        r"|crawling|webbattack|atak na (?:stronę|aplikac)|union(?:\+|%20| )select"
        r"|nikto|wpscan|sqlmap|acunetix|\.env\b|/etc/passwd|phpunit|xmlrpc\.php.{0,40}pingback"
        r"|webaanval|kwetsbaarheid|scann?\w* for /|vulnerab|http-prob|web-?сайт|schwachstellenscan",
    ),
    _words(
        Kind.WEB_ATTACK,
        1,
        r"\"(?:GET|POST|HEAD) /|wp-login\.php|xmlrpc\.php|phpmyadmin|wordpress|cgi-bin"
        r"|user "
        r"agent"
        r"|http "
        r"flood",
    ),
    _words(
        Kind.SPAM,
        3,
        r"\bspam|relay access denied|relay attempt|unsolicited (?:bulk|commercial|e-?mail)"
        r"|junk mail|\bube\b|\buce\b"
        r"|спам"
        r"|スパム"
        r"|迷惑メール|垃圾邮件|pourriel|correo no deseado"
        r"|feedback-type: abuse|forum spam|spamtrap|spam-?trap|spamcop|unerwünschte (?:e-?mail"
        r"|werbung)|niechcian\w+ poczt|nevyžádan\w+",
    ),
    _words(
        Kind.DDOS,
        4,
        r"\bd?dos[ -]?(?:attack|angriff|attac)|\bddos\b|denial[ -]of[ -]service"
        r"|syn[ -]?flood"
        r"|udp[ -]?flood|flood(?:ing|ed)? (?:attack|our)|amplification"
        r"|déni de service|denegación de servicio|negação de serviço|odmow\w+ usługi|отказ\w* "
        r"в обслуживании|\bddos|ddos-атак|ddos攻撃|拒绝服务|サービス妨害"
        r"|http[ _]flood|odepření služby"
        r"|\d[KMG]?(?:pps|bps)\b|volumetric|überlast|överbelast|layer ?7",
    ),
    _words(
        Kind.COPYRIGHT,
        4,
        r"copyright|dmca|infring|urheberrecht|diritto d'autore|diritti d'autore"
        r"|droits? "
        r"d'auteur|derechos? de autor|direitos autorais|auteursrecht"
        r"|praw\w* autorsk|авторск\w+ прав|autorsk\w+ práv|upphovsrätt|著作権|版权|侵权|bittorrent"
        r"|torrent|rights ?holder|hadopi",
    ),
    _words(
        Kind.MALWARE,
        3,
        r"\bmalware|botnet|\bc2\b|c&c|command[ -]and[ -]control|command & control"
        r"|trojan"
        r"|infected (?:host|machine|system|computer)|infiziert|drone report|sinkhole"
        r"|ransomware|\bvirus\b|вредоносн|ботнет|マルウェア|ボットネット|恶意软件|僵尸网络|škodliv|schadsoftware"
        r"|schadprogramm|zainfekow|złośliw\w+ oprogram|logiciel malveillant"
        r"|\bbot infection|kompromittier|skadlig kod|mirai|emotet|infetto|conficker|infección"
        r"|infecção",
    ),
    _words(
        Kind.FRAUD,
        4,
        r"phish|\bfraud|\bscam|carding|stolen credit card|credit card (?:fraud"
        r"|test)"
        r"|chargeback|betrug|betrüg|frode|truffa|fraude|estafa|oszust|oszusł|мошенн|podvod|bedräg"
        r"|フィッシング|詐欺|诈骗|钓鱼|fake (?:order|shop|account)|kreditkart|carte (?:di credito"
        r"|bancaire)|account takeover|identity theft|oplichting|wyłudz",
    ),
    _words(
        Kind.THREATS,
        4,
        r"\bthreat(?:s|en|ened|ening)?\b(?![,_:;|\"=]|[ -]prevention| log| intel"
        r"| "
        r"feed"
        r"| "
        r"actor"
        r"| detect| protect| def| level| hunt| research| monitor| data)|death threat|bomb"
        r"|blackmail|extort|sextort|harass|stalk|drohung|bedroh|erpress|minacc"
        r"|menac(?:es?|é)|amenaz|ameaç|bedreig|groźb|groźby|угроз|угрож|вымог|výhrůž|vyhrož"
        r"|vyděr|\bhot(?:bild|elser)?\b.{0,12}(?:mot|meddelande)|脅迫|爆破予告|殺害|恐吓|威胁|szantaż"
        r"|ricatt|chantage|suicid|hate speech|police investigation",
    ),
)


def kind_of(subject: str, text: str) -> Kind:
    """Return what a report complains about; `UNKNOWN` where its words do not tell."""
    scores: dict[Kind, int] = {}
    text = text[:MAX_READ]
    for kind, weight, pattern in _PATTERNS:
        count = 0
        for count, _ in enumerate(pattern.finditer(text), 1):
            if count >= _CAP:
                break
        score = weight * count
        if pattern.search(subject):
            score += weight * _SUBJECT_WEIGHT
        if score:
            scores[kind] = scores.get(kind, 0) + score
    if not scores:
        return Kind.UNKNOWN
    return max(scores, key=lambda kind: scores[kind])
