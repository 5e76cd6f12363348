# ruff: noqa: RUF001
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
        r"brute[ -]?forc|bruteforc|fuerza bruta|força bruta|forza bruta|force brute"
        r"|hrubou silou|hrubé síly|siłow|подбор\w* парол|перебор\w* парол|грубой сил|брутфорс"
        r"|brut-?force|ブルートフォース|総当|暴力破解|爆破|råstyrke|password guessing"
        r"|dictionary attack|login.?attack|log-?in failures?|contraseñas? (?:fals|incorr)"
        r"|credential stuffing|password spray|passwort-?rat|hádání hes|passwort.{0,12}errat",
    ),
    _words(
        Kind.BRUTE_FORCE,
        2,
        r"přihla[šs]\w*|přihlaš|belép\w*|bejelentkez\w*|logga in|minēšan|jelszópr|lösenordsg"
        r"|remote desktop|entrar (?:no|en el) pa[in]|(?:POST|GET) \S{0,80}(?:log-?in|/auth"
        r"|sign-?in|inlog|anmeld)|locked? ?out|ausgesperrt|anmeldefehl|log ?in angri"
        r"|login-angri|failed (?:password|login|logon|auth)|authentication failure"
        r"|auth(?:entication)? fail|(?:log|sign)[- ]?in attempts?|tr(?:y|ies|ied"
        r"|ying) (?:to )?(?:log|guess|passwords)|guess\w* .{0,12}passwords?"
        r"|password(?:s)? guess|authenticator failed|access denied for user|ssh guessing"
        r"|로그인 시도|무차별|logg\w{0,2} (?:ind|inn|in)\b|kirjautumisyrity|autentificare"
        r"|kaba kuvvet|oturum açma|log-?in-?versuch|anmeldeversuch|tentativ\w+ di (?:accesso"
        r"|login)|tentativ\w+ (?:de|d') ?connexion|intentos? de (?:acceso|inicio|login|autenti)"
        r"|tentativas? de (?:login|acesso)|inlogpoging|próby? (?:logowan|zalogow)"
        r"|попыт\w+ (?:входа|авторизац|подключ)|pokus\w* o (?:přihlášen|přístup)"
        r"|inloggningsförsök|ログイン試行|不正ログイン|登录尝试|invalid user|sasl login"
        r"|pam_unix|ssh (?:attack|abuse|scan)|ssh-?angriff|attacchi? ssh|attaques? ssh|\bsshd\["
        r"|event ?id\W{1,12}4625|failed to log ?on|fail(?:ed|ing) log|mislukte aanmeld"
        r"|nieudan\w+ (?:prób|logow)|innlogging|(?:attack|angri|angreif|attacc|attaqu|ataqu"
        r"|атак|útok)\w*.{0,60}\b(?:ssh|ftp|imap|pop3|rdp|smtp|telnet|sip|vnc)\b|bejelentkez"
        r"|(?:wp-login|xmlrpc)\.php|(?:http|ssh|ftp|mail)[-_]bf|[-_/]bf[-_]|logins? attempt"
        r"|(?:hammer|pound)\w* .{0,60}(?:ssh|rdp|vnc|login|ftp|imap|passw)"
        r"|pokou\w+ .{0,20}přihl|(?:guess|gætte|gissa|gjette|raten|errat|indovin|devin|adivin"
        r"|zgad|угад|підб)\w* .{0,20}(?:passw|adgangsk|lösen|passord|kennw|hasł|парол|contras"
        r"|senh|mot)|lösenordsgiss|неудачн\w+ вход|невдал\w+ (?:вхо|спроб)|撞库|异常登录"
        r"|mật khẩu|εύρεσης? κωδικ|κωδικ\w+ πρόσβασ|percobaan login|upaya login"
        r"|опит\w* за (?:вход|влизане)|login(?:i)? attempts",
    ),
    _words(
        Kind.BRUTE_FORCE,
        1,
        r"passw|парол|slaptaž|parole[sm]?\b|lykilorð|salasan|jelsz|heslo|hesla|hasł|lozink"
        r"|geslo|şifre|kata sandi|senha|contraseñ|mot de passe|المرور|رمز عبور|گذرواژه|סיסמ"
        r"|รหัสผ่าน|パスワード|密码|密碼|비밀번호|κωδικ|pr[óo]by (?:za)?logowan|in te loggen"
        r"|se connecter|تسجيل الدخول|prisijung|pieslēg|不正アクセス|unauthori[sz]ed (?:access"
        r"|login)|unbefugt\w* zugr|accesso non autor|acceso no autor|acesso não autor"
        r"|accès non autor|несанкционирован\w+ доступ",
    ),
    _words(
        Kind.PORT_SCAN,
        3,
        r"port[ -]?scan|portscan|netscan|net scan|network scan|scansion\w+ (?:di |delle )?port"
        r"|balayage de ports|scan de ports|escaneo de puertos|varredura de portas|poortscan"
        r"|skanowan\w+ port|сканирован\w+ порт|skenov\w+ port|portskan|portscann|ポートスキャン"
        r"|端口扫描|端口掃描|syn scan|port probe|scansion\w+ (?:di|delle|dei|su)\b"
        r"|scansione porte|host ?scan|horizontal scan|vertical scan|service probing"
        r"|scanning (?:of )?(?:our|multiple|ports)|portscanning|scanning activity|ポート探索"
        r"|포트 ?스캔|session[ _]deny|session denied|information leak|\bscanned\b|\bscanning\b"
        r"|escaneando|gescannt",
    ),
    _words(
        Kind.PORT_SCAN,
        2,
        r"скан(?:ир|ув)\w+|skan(?:ow|uj|ning)\w*|skenov\w+|skeniranj\w+|scansion\w+|balay\w+"
        r"|escane\w+|varredura|tarama|tarıyor|\bsweeps?\b|\bswept\b|porttiskan|skannau|skannat"
        r"|odprtih vrat|letapogat|pásztáz|pemindaian|memindai|scanare|σάρωσ\w*|quét|扫描"
        r"|スキャン|스캔|\bprobes?\b|\bDeny\b.{0,80}\b(?:tcp|udp)\b",
    ),
    _words(
        Kind.PORT_SCAN,
        1,
        r"\bSYN\b|Flags \[S\]|deny tcp|denied (?:tcp|udp|by)|\bprobed\b|\bscans?\b|\bDROP\b"
        r"|block,in|block in|\bknock|firewall (?:log|drop|block)|unsolicited (?:connection"
        r"|packet|incoming)|probes?\b|\[UFW BLOCK\]|DPT=",
    ),
    _words(
        Kind.WEB_ATTACK,
        3,
        r"эксплуатаци\w+ уязвим|hack\w* .{0,20}(?:web ?site|\bshop)|פריצה ל|sql[ -]?injection"
        r"|sqli\b|cross[- ]site|\bxss\b|web (?:attack|application|app attack)|webangriff"
        r"|directory traversal|path traversal|remote file inclusion|\blfi\b|\brfi\b|web ?shell"
        r"|exploit attempt|vulnerability scan|mod_?security|\bwaf\b|web scan|explora[cç]\w+ web"
        r"|log4j|log4shell|shellshock|rce attempt|remote code|attacchi? web|attaque web"
        r"|ataque web|веб-атак|атак\w+ на (?:веб-?)?сайт|webový\w* útok|webattack|inyecci[oó]n"
        r"|injeção|iniezione|sql-?инъекц|sql インジェクション|sqlインジェクション|sql注入"
        r"|脆弱性スキャン|漏洞扫描|scraping|crawling|webbattack|atak na (?:stronę|aplikac)"
        r"|union(?:\+|%20| )select|nikto|wpscan|sqlmap|acunetix|\.env\b|/etc/passwd|phpunit"
        r"|xmlrpc\.php.{0,40}pingback|webaanval|kwetsbaarheid|scann?\w* for /|vulnerab"
        r"|http-prob|web-?сайт|schwachstellenscan",
    ),
    _words(
        Kind.WEB_ATTACK,
        1,
        r"\b(?:GET|POST|HEAD) /\S|phpmyadmin|wordpress|cgi-bin|\bexploit\w*|\binjection\b|漏洞"
        r"|远程代码|反序列化|脆弱性|user agent|http flood",
    ),
    _words(
        Kind.SPAM,
        3,
        r"skräpinlägg|reklaminl|宣伝の書き込み|宣伝書き込み|\bspam(?![ -]?(?:filter|ordner"
        r"|folder|verdacht|schutz))|relay access denied|relay attempt|unsolicited (?:bulk"
        r"|commercial|e-?mail)|junk mail|\bube\b|\buce\b|спам|スパム|迷惑メール|垃圾邮件"
        r"|pourriel|correo no deseado|feedback-type: abuse|forum spam|spamtrap|spam-?trap"
        r"|spamcop|unerwünschte (?:e-?mail|werbung)|niechcian\w+ poczt|nevyžádan\w+",
    ),
    _words(
        Kind.DDOS,
        4,
        r"\bflood(?:ed|s| bots)\b|bots? (?:a|per|pro) (?:second|minute|sekunde)"
        r"|\btype\W{1,3}d?dos\b|(?:requests|req|anfragen|richieste|requêtes|peticiones"
        r"|requisições|verzoeken|zapytań|запросов|požadavků|förfrågningar)\s?(?:/|per|pro|a|al"
        r"|par|por|na|в|za)\s?(?:s\b|sec|sek|second|segund|сек)|\b(?:query|connection|packet"
        r"|request|tcp|http) flood|대량의? .{0,12}접속|디도스|\bd?dos[ -]?(?:attack|angriff"
        r"|attac)|\bddos\b|denial[ -]of[ -]service|syn[ -]?flood|udp[ -]?flood|flood(?:ing"
        r"|ed)? (?:attack|our)|amplification|déni de service|denegación de servicio"
        r"|negação de serviço|odmow\w+ usługi|отказ\w* в обслуживании|\bddos|ddos-атак|ddos攻撃"
        r"|拒绝服务|サービス妨害|http[ _]flood|odepření služby|\d[KMG]?(?:pps|bps)\b|volumetric"
        r"|überlast|överbelast|layer ?7",
    ),
    _words(
        Kind.COPYRIGHT,
        4,
        r"copyright|dmca|infring|urheberrecht|diritto d'autore|diritti d'autore"
        r"|droits? d'auteur|derechos? de autor|direitos autorais|auteursrecht|praw\w* autorsk"
        r"|авторск\w+ прав|autorsk\w+ práv|upphovsrätt|著作権|版权|侵权|bittorrent|torrent"
        r"|rights ?holder|hadopi",
    ),
    _words(
        Kind.MALWARE,
        3,
        r"\bmalware|botnet|\bc2\b|c&c|command[ -]and[ -]control|command & control|trojan"
        r"|infected (?:host|machine|system|computer)|infiziert|drone report|sinkhole|ransomware"
        r"|\bvirus\b|вредоносн|ботнет|マルウェア|ボットネット|恶意软件|僵尸网络|škodliv"
        r"|schadsoftware|schadprogramm|zainfekow|złośliw\w+ oprogram|logiciel malveillant"
        r"|\bbot infection|kompromittier|skadlig kod|mirai|emotet|infetto|conficker|infección"
        r"|infecção",
    ),
    _words(
        Kind.FRAUD,
        4,
        r"card[- ]test|carduri? fur|card\w* furat|cart[ae]s? (?:volée|rubat|roba)"
        r"|gestohlene\w* (?:kredit)?kart|fake invoice|business e-?mail compromise|phish|\bfraud"
        r"|\bscam|carding|stolen credit card|credit card (?:fraud|test)|chargeback|betrug"
        r"|betrüg|frode|truffa|fraude|estafa|oszust|oszusł|мошенн|podvod|bedräg|フィッシング"
        r"|詐欺|诈骗|钓鱼|fake (?:order|shop|account)|kreditkart|carte (?:di credito|bancaire)"
        r"|account takeover|identity theft|oplichting|wyłudz",
    ),
    _words(
        Kind.THREATS,
        4,
        r"dødstrus|\btruss?ler (?:mot|til)|mordhot|doodsbedrei|\bthreat(?:s|en|ened"
        r"|ening)?\b(?![,_:;|\"=]|[ -]prevention| log| intel| feed| actor| detect| protect| def"
        r"| level| hunt| research| monitor| data)|death threat|bomb(?!ard)|blackmail|extort"
        r"|sextort|harass|stalk|drohung|bedroh|erpress|minacc|menac(?:es?|é)|amenaz|ameaç"
        r"|bedreig|groźb|groźby|угроз|угрож|вымог|výhrůž|vyhrož|vyděr|\bhot(?:bild"
        r"|elser)?\b.{0,12}(?:mot|meddelande)|脅迫|爆破予告|殺害|恐吓|威胁|szantaż|ricatt"
        r"|chantage|suicid|hate speech|police investigation",
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
