"""Words for musical facts in English, German, French, Spanish and Chinese.

Each table's rows are ``key | en | de | fr | es | zh``. Nouns carry their gender in German, French and
Spanish as ``m:``, ``f:`` or ``n:`` (``p:`` for a plural); adjectives carry what the gender needs:
German a stem that takes -er, -e or -es, French and Spanish "masculine/feminine" or one form for both.
"""

from __future__ import annotations

LANGUAGES = ("en", "de", "fr", "es", "zh")


def _table(rows: str) -> dict[str, dict[str, str]]:
    table = {}
    for row in rows.strip().splitlines():
        key, *words = (cell.strip() for cell in row.split("|"))
        table[key] = dict(zip(LANGUAGES, words, strict=True))
    return table


FORMS = _table("""
reel | reel | m:Reel | m:reel | m:reel | 里尔舞曲
jig | jig | f:Jig | f:gigue | f:jiga | 吉格舞曲
slip_jig | slip jig | m:Slip Jig | m:slip jig | m:slip jig | 滑步吉格舞曲
hornpipe | hornpipe | m:Hornpipe | m:hornpipe | m:hornpipe | 号笛舞曲
strathspey | strathspey | m:Strathspey | m:strathspey | m:strathspey | 斯特拉斯佩舞曲
clog | clog dance | m:Holzschuhtanz | f:danse en sabots | f:danza de zuecos | 木屐舞曲
fling | highland fling | m:Highland Fling | m:highland fling | m:highland fling | 高地舞曲
waltz | waltz | m:Walzer | f:valse | m:vals | 圆舞曲
minuet | minuet | n:Menuett | m:menuet | m:minueto | 小步舞曲
march | march | m:Marsch | f:marche | f:marcha | 进行曲
polka | polka | f:Polka | f:polka | f:polca | 波尔卡舞曲
gavotte | gavotte | f:Gavotte | f:gavotte | f:gavota | 加沃特舞曲
dance | dance tune | f:Tanzweise | m:air de danse | f:melodía de baile | 舞曲
air | air | f:Weise | m:air | f:melodía | 曲调
chorale | chorale | m:Choral | m:choral | m:coral | 众赞歌
madrigal | madrigal | n:Madrigal | m:madrigal | m:madrigal | 牧歌
trecento_song | song of the Italian Trecento | n:Lied des italienischen Trecento | f:chanson du Trecento italien | f:canción del Trecento italiano | 意大利十四世纪歌曲
string_quartet | string quartet movement | m:Streichquartettsatz | m:mouvement de quatuor à cordes | m:movimiento de cuarteto de cuerda | 弦乐四重奏乐章
mass | mass movement | m:Messsatz | m:mouvement de messe | m:movimiento de misa | 弥撒乐章
mass_kyrie | Kyrie of a mass | n:Kyrie einer Messe | m:Kyrie d'une messe | m:Kyrie de una misa | 弥撒慈悲经
mass_gloria | Gloria of a mass | n:Gloria einer Messe | m:Gloria d'une messe | m:Gloria de una misa | 弥撒荣耀经
mass_credo | Credo of a mass | n:Credo einer Messe | m:Credo d'une messe | m:Credo de una misa | 弥撒信经
mass_sanctus | Sanctus of a mass | n:Sanctus einer Messe | m:Sanctus d'une messe | m:Sanctus de una misa | 弥撒圣哉经
mass_benedictus | Benedictus of a mass | n:Benedictus einer Messe | m:Benedictus d'une messe | m:Benedictus de una misa | 弥撒降福经
mass_agnus | Agnus Dei of a mass | n:Agnus Dei einer Messe | m:Agnus Dei d'une messe | m:Agnus Dei de una misa | 弥撒羔羊经
folk_song | folk song | n:Volkslied | f:chanson populaire | f:canción popular | 民歌
ballad | ballad | f:Ballade | f:ballade | f:balada | 叙事歌
love | love song | n:Liebeslied | f:chanson d'amour | f:canción de amor | 情歌
children | children's song | n:Kinderlied | f:chanson enfantine | f:canción infantil | 儿歌
lullaby | lullaby | n:Wiegenlied | f:berceuse | f:canción de cuna | 摇篮曲
sacred | sacred song | n:geistliches Lied | m:chant religieux | m:canto religioso | 宗教歌曲
dance_song | dance song | n:Tanzlied | f:chanson à danser | f:canción de baile | 舞歌
drinking | drinking song | n:Trinklied | f:chanson à boire | f:canción de taberna | 饮酒歌
soldier | soldiers' song | n:Soldatenlied | f:chanson de soldats | f:canción de soldados | 士兵歌曲
wedding | wedding song | n:Hochzeitslied | f:chanson de noces | f:canción de boda | 婚礼歌
farewell | song of farewell | n:Abschiedslied | f:chanson d'adieu | f:canción de despedida | 告别歌
hunting | hunting song | n:Jägerlied | f:chanson de chasse | f:canción de caza | 狩猎歌
work_song | work song | n:Arbeitslied | f:chanson de métier | f:canción de trabajo | 劳动歌曲
humorous | humorous song | n:Scherzlied | f:chanson plaisante | f:canción humorística | 诙谐歌曲
mountain_song | mountain song | n:Berglied | m:chant de montagne | m:canto de montaña | 山歌
little_tune | little tune | n:Liedchen | f:petite chanson | f:cancioncilla | 小调
opera_tune | folk opera tune | f:Weise der Volksoper | m:air d'opéra populaire | f:melodía de ópera popular | 戏曲曲调
song | song | n:Lied | f:chanson | f:canción | 歌曲
art_song | art song | n:Kunstlied | f:mélodie | f:canción lírica | 艺术歌曲
chanson | chanson | f:Chanson | f:chanson | f:chanson | 尚松
piano_piece | piano piece | n:Klavierstück | f:pièce pour piano | f:pieza para piano | 钢琴曲
piano_trio | piano trio movement | m:Klaviertriosatz | m:mouvement de trio avec piano | m:movimiento de trío con piano | 钢琴三重奏乐章
ragtime | rag | m:Ragtime | m:ragtime | m:ragtime | 拉格泰姆
sonata | sonata movement | m:Sonatensatz | m:mouvement de sonate | m:movimiento de sonata | 奏鸣曲乐章
concerto | concerto | n:Konzert | m:concerto | m:concierto | 协奏曲
aria | aria | f:Arie | f:aria | f:aria | 咏叹调
""")

# Cells may hold several words; one is drawn per piece and field.
PACES = _table("""
slow | slow; solemn | langsam; getragen | lent/lente; grave | lento/lenta; solemne | 缓慢; 庄重
calm | calm; quiet; peaceful | ruhig; friedlich | calme; paisible | tranquilo/tranquila; apacible | 平静; 安静
moderate | moderate; flowing | gemächlich; fließend | modéré/modérée; fluide | moderado/moderada; fluido/fluida | 中速; 流畅
lively | lively; cheerful; merry | lebhaft; fröhlich; munter | vif/vive; joyeux/joyeuse; entraînant/entraînante | alegre; vivo/viva; animado/animada | 欢快; 活泼
fast | fast; quick; energetic | schnell; flott; schwungvoll | rapide; énergique | rápido/rápida; enérgico/enérgica | 快速; 热烈
""")

# Words a listener may use for a mode.
MOODS = _table("""
major | bright; happy; sunny | hell; heiter; glücklich | lumineux/lumineuse; heureux/heureuse; gai/gaie | luminoso/luminosa; feliz | 明亮; 快乐
minor | sad; melancholic; sorrowful | traurig; schwermütig; klagend | triste; mélancolique; douloureux/douloureuse | triste; melancólico/melancólica; doloroso/dolorosa | 忧伤; 悲伤
dorian | wistful; ancient | wehmütig; altertümlich | nostalgique; ancien/ancienne | nostálgico/nostálgica; antiguo/antigua | 惆怅; 古老
mixolydian | earthy; rustic | urwüchsig; bäuerlich | rustique | rústico/rústica | 质朴
phrygian | dark; gloomy | düster; finster | sombre | sombrío/sombría | 阴暗
lydian | light | leicht | léger/légère | ligero/ligera | 轻盈
pentatonic | simple; pastoral | schlicht; ländlich | simple; pastoral/pastorale | sencillo/sencilla; pastoril | 淳朴; 田园
""")

MODES = _table("""
major | major | Dur | majeur | mayor | 大调
minor | minor | Moll | mineur | menor | 小调
dorian | Dorian | dorisch | dorien | dórico | 多利亚调式
mixolydian | Mixolydian | mixolydisch | mixolydien | mixolidio | 混合利底亚调式
phrygian | Phrygian | phrygisch | phrygien | frigio | 弗里几亚调式
lydian | Lydian | lydisch | lydien | lidio | 利底亚调式
pentatonic | pentatonic | pentatonisch | pentatonique | pentatónico | 五声调式
""")

COUNTRIES = _table("""
germany | Germany | Deutschland | d'Allemagne | Alemania | 德国
china | China | China | de Chine | China | 中国
luxembourg | Luxembourg | Luxemburg | du Luxembourg | Luxemburgo | 卢森堡
lorraine | Lorraine | Lothringen | de Lorraine | Lorena | 洛林
ireland | Ireland | Irland | d'Irlande | Irlanda | 爱尔兰
scotland | Scotland | Schottland | d'Écosse | Escocia | 苏格兰
england | England | England | d'Angleterre | Inglaterra | 英格兰
america | America | Amerika | d'Amérique | América | 美国
austria | Austria | Österreich | d'Autriche | Austria | 奥地利
switzerland | Switzerland | Schweiz | de Suisse | Suiza | 瑞士
netherlands | the Netherlands | Niederlande | des Pays-Bas | los Países Bajos | 荷兰
france | France | Frankreich | de France | Francia | 法国
italy | Italy | Italien | d'Italie | Italia | 意大利
spain | Spain | Spanien | d'Espagne | España | 西班牙
mexico | Mexico | Mexiko | du Mexique | México | 墨西哥
balkans | the Balkans | Balkan | des Balkans | los Balcanes | 巴尔干
romania | Romania | Rumänien | de Roumanie | Rumanía | 罗马尼亚
hungary | Hungary | Ungarn | de Hongrie | Hungría | 匈牙利
bohemia | Bohemia | Böhmen | de Bohême | Bohemia | 波希米亚
poland | Poland | Polen | de Pologne | Polonia | 波兰
russia | Russia | Russland | de Russie | Rusia | 俄罗斯
scandinavia | Scandinavia | Skandinavien | de Scandinavie | Escandinavia | 斯堪的纳维亚
europe | Europe | Europa | d'Europe | Europa | 欧洲
""")

ORIGINS = _table("""
germany | German | deutsch | allemand/allemande | alemán/alemana | 德国
china | Chinese | chinesisch | chinois/chinoise | chino/china | 中国
luxembourg | Luxembourgish | luxemburgisch | luxembourgeois/luxembourgeoise | luxemburgués/luxemburguesa | 卢森堡
lorraine | Lorraine | lothringisch | lorrain/lorraine | lorenés/lorenesa | 洛林
ireland | Irish | irisch | irlandais/irlandaise | irlandés/irlandesa | 爱尔兰
scotland | Scottish | schottisch | écossais/écossaise | escocés/escocesa | 苏格兰
england | English | englisch | anglais/anglaise | inglés/inglesa | 英国
america | American | amerikanisch | américain/américaine | americano/americana | 美国
austria | Austrian | österreichisch | autrichien/autrichienne | austríaco/austríaca | 奥地利
switzerland | Swiss | schweizerisch | suisse | suizo/suiza | 瑞士
netherlands | Dutch | niederländisch | néerlandais/néerlandaise | neerlandés/neerlandesa | 荷兰
france | French | französisch | français/française | francés/francesa | 法国
italy | Italian | italienisch | italien/italienne | italiano/italiana | 意大利
spain | Spanish | spanisch | espagnol/espagnole | español/española | 西班牙
mexico | Mexican | mexikanisch | mexicain/mexicaine | mexicano/mexicana | 墨西哥
balkans | Balkan | südslawisch | balkanique | balcánico/balcánica | 巴尔干
romania | Romanian | rumänisch | roumain/roumaine | rumano/rumana | 罗马尼亚
hungary | Hungarian | ungarisch | hongrois/hongroise | húngaro/húngara | 匈牙利
bohemia | Bohemian | böhmisch | tchèque | bohemio/bohemia | 波希米亚
poland | Polish | polnisch | polonais/polonaise | polaco/polaca | 波兰
russia | Russian | russisch | russe | ruso/rusa | 俄罗斯
scandinavia | Scandinavian | skandinavisch | scandinave | escandinavo/escandinava | 北欧
europe | European | europäisch | européen/européenne | europeo/europea | 欧洲
""")

COLLECTIONS = _table("""
bach_chorale | the chorales of Johann Sebastian Bach | den Chorälen von Johann Sebastian Bach | les chorals de Jean-Sébastien Bach | los corales de Johann Sebastian Bach | 巴赫众赞歌集
palestrina | the masses of Palestrina | den Messen von Palestrina | les messes de Palestrina | las misas de Palestrina | 帕莱斯特里纳弥撒曲集
monteverdi | the madrigal books of Monteverdi | den Madrigalbüchern von Monteverdi | les livres de madrigaux de Monteverdi | los libros de madrigales de Monteverdi | 蒙特威尔第牧歌集
trecento | the music of the Italian Trecento | der Musik des italienischen Trecento | la musique du Trecento italien | la música del Trecento italiano | 意大利十四世纪音乐
string_quartet | the classical string quartets | den klassischen Streichquartetten | les quatuors à cordes classiques | los cuartetos de cuerda clásicos | 古典弦乐四重奏
ryan | Ryan's Mammoth Collection of fiddle tunes | Ryans Mammoth Collection von Fiddle-Melodien | la Ryan's Mammoth Collection d'airs de violon | la Ryan's Mammoth Collection de melodías de violín | 瑞安小提琴舞曲集
oneill | O'Neill's Music of Ireland | O'Neills Music of Ireland | O'Neill's Music of Ireland | O'Neill's Music of Ireland | 奥尼尔爱尔兰音乐集
aird | Aird's Airs for fife, violin or flute | Airds Airs für Querpfeife, Geige oder Flöte | les Aird's Airs pour fifre, violon ou flûte | los Aird's Airs para pífano, violín o flauta | 艾尔德曲调集
essen_europe | the Essen collection of European folk songs | der Essener Sammlung europäischer Volkslieder | la collection d'Essen de chansons populaires européennes | la colección de Essen de canciones populares europeas | 埃森欧洲民歌集
essen_china | the Essen collection of Chinese folk songs | der Essener Sammlung chinesischer Volkslieder | la collection d'Essen de chansons populaires chinoises | la colección de Essen de canciones populares chinas | 埃森中国民歌集
misc_folk | collections of English and American tunes | Sammlungen englischer und amerikanischer Weisen | les recueils d'airs anglais et américains | colecciones de melodías inglesas y americanas | 英美民间曲调集
art_music | classical music | klassischer Musik | la musique classique | la música clásica | 古典音乐
lieder | the songs for voice and piano of the 19th century | den Klavierliedern des 19. Jahrhunderts | les mélodies pour voix et piano du XIXe siècle | las canciones para voz y piano del siglo XIX | 十九世纪艺术歌曲
""")

# What a person would call a piece of the collection; also the zero-shot prompts.
LABELS = _table("""
bach_chorale | Bach chorale | Bach-Choral | choral de Bach | coral de Bach | 巴赫众赞歌
palestrina | Palestrina mass | Messe von Palestrina | messe de Palestrina | misa de Palestrina | 帕莱斯特里纳弥撒曲
monteverdi | Monteverdi madrigal | Madrigal von Monteverdi | madrigal de Monteverdi | madrigal de Monteverdi | 蒙特威尔第牧歌
trecento | medieval Italian song of the Trecento | italienisches Lied des Mittelalters (Trecento) | chanson médiévale italienne du Trecento | canción medieval italiana del Trecento | 中世纪意大利歌曲
string_quartet | classical string quartet | klassisches Streichquartett | quatuor à cordes classique | cuarteto de cuerda clásico | 古典弦乐四重奏
ryan | American fiddle tune from Ryan's Mammoth Collection | amerikanische Fiddle-Melodie aus Ryans Mammoth Collection | air de violon américain de la Ryan's Mammoth Collection | melodía de violín americana de la Ryan's Mammoth Collection | 瑞安曲集的美国小提琴曲
oneill | Irish tune from O'Neill's Music of Ireland | irische Melodie aus O'Neills Music of Ireland | air irlandais d'O'Neill's Music of Ireland | melodía irlandesa de O'Neill's Music of Ireland | 奥尼尔曲集的爱尔兰曲调
aird | Scottish air from Aird's collection | schottische Weise aus Airds Sammlung | air écossais du recueil d'Aird | melodía escocesa de la colección de Aird | 艾尔德曲集的苏格兰曲调
essen_europe | European folk song | europäisches Volkslied | chanson populaire européenne | canción popular europea | 欧洲民歌
essen_china | Chinese folk song | chinesisches Volkslied | chanson populaire chinoise | canción popular china | 中国民歌
misc_folk | English or American folk tune | englische oder amerikanische Volksweise | air populaire anglais ou américain | melodía popular inglesa o americana | 英美民间曲调
art_music | classical piece | klassisches Stück | pièce classique | pieza clásica | 古典乐曲
lieder | song for voice and piano | Klavierlied | mélodie pour voix et piano | canción para voz y piano | 声乐与钢琴艺术歌曲
""")

SCORINGS = _table("""
choir | choir | Chor | chœur | coro | 合唱
voices | unaccompanied voices | Singstimmen ohne Begleitung | voix seules | voces solas | 无伴奏人声
quartet | two violins, viola and cello | zwei Geigen, Bratsche und Cello | deux violons, alto et violoncelle | dos violines, viola y violonchelo | 两把小提琴、中提琴和大提琴
fiddle | fiddle | Geige | violon | violín | 小提琴
flute | flute or violin | Flöte oder Geige | flûte ou violon | flauta o violín | 长笛或小提琴
voice | one voice | eine Singstimme | voix seule | una sola voz | 独唱
voice_piano | voice and piano | Singstimme und Klavier | voix et piano | voz y piano | 人声与钢琴
instruments | instruments | Instrumente | instruments | instrumentos | 乐器
""")
SCORING_OF = {
    "bach_chorale": "choir", "palestrina": "choir", "monteverdi": "voices", "trecento": "voices", "string_quartet": "quartet",
    "ryan": "fiddle", "oneill": "fiddle", "aird": "flute", "essen_europe": "voice", "essen_china": "voice",
    "misc_folk": "fiddle", "art_music": "instruments", "lieder": "voice_piano",
}  # fmt: skip

SCENES = _table("""
dance | for dancing at a ceilidh or a village feast | zum Tanzen auf einem Dorffest | pour danser à une fête de village | para bailar en una fiesta de pueblo | 适合乡村节日跳舞
session | for a pub session with fiddle and flute | für eine Session in der Kneipe mit Geige und Flöte | pour une session au pub avec violon et flûte | para una sesión en el pub con violín y flauta | 适合酒馆里的小提琴与长笛合奏
church | for a church service | für den Gottesdienst | pour un office religieux | para un oficio religioso | 适合教堂礼拜
court | for a Renaissance court or a choir concert | für einen Hof der Renaissance oder ein Chorkonzert | pour une cour de la Renaissance ou un concert de chœur | para una corte del Renacimiento o un concierto coral | 适合文艺复兴宫廷或合唱音乐会
hall | for a chamber music evening | für einen Kammermusikabend | pour une soirée de musique de chambre | para una velada de música de cámara | 适合室内乐晚会
home | for singing together at home | zum gemeinsamen Singen zu Hause | pour chanter ensemble à la maison | para cantar juntos en casa | 适合在家一起歌唱
night | for putting a child to sleep | um ein Kind in den Schlaf zu singen | pour endormir un enfant | para dormir a un niño | 适合哄孩子入睡
parade | for a parade of fifes and drums | für einen Umzug mit Pfeifen und Trommeln | pour un défilé de fifres et tambours | para un desfile de pífanos y tambores | 适合笛鼓队游行
field | for singing in the fields and mountains | zum Singen auf Feldern und in den Bergen | pour chanter aux champs et en montagne | para cantar en el campo y la montaña | 适合田野山间歌唱
""")
SCENE_OF = {
    "reel": "session", "jig": "session", "slip_jig": "session", "hornpipe": "session", "strathspey": "dance", "clog": "dance",
    "fling": "dance", "waltz": "dance", "minuet": "dance", "polka": "dance", "gavotte": "dance", "dance": "dance", "march": "parade",
    "chorale": "church", "sacred": "church", "madrigal": "court", "trecento_song": "court", "chanson": "court", "lullaby": "night",
    "mountain_song": "field", "work_song": "field", "air": "session", "dance_song": "dance",
}  # fmt: skip

INTERVALS = _table("""
0 | unison | Prime | unisson | unísono | 同度
1 | minor second | kleine Sekunde | seconde mineure | segunda menor | 小二度
2 | major second | große Sekunde | seconde majeure | segunda mayor | 大二度
3 | minor third | kleine Terz | tierce mineure | tercera menor | 小三度
4 | major third | große Terz | tierce majeure | tercera mayor | 大三度
5 | fourth | Quarte | quarte | cuarta | 四度
6 | tritone | Tritonus | triton | tritono | 三全音
7 | fifth | Quinte | quinte | quinta | 五度
8 | minor sixth | kleine Sexte | sixte mineure | sexta menor | 小六度
9 | major sixth | große Sexte | sixte majeure | sexta mayor | 大六度
10 | minor seventh | kleine Septime | septième mineure | séptima menor | 小七度
11 | major seventh | große Septime | septième majeure | séptima mayor | 大七度
12 | octave | Oktave | octave | octava | 八度
13 | more than an octave | mehr als eine Oktave | plus d'une octave | más de una octava | 超过八度
""")

LENGTHS = _table("""
whole | whole notes | Ganze | rondes | redondas | 全音符
half | half notes | Halbe | blanches | blancas | 二分音符
quarter | quarter notes | Viertel | noires | negras | 四分音符
eighth | eighth notes | Achtel | croches | corcheas | 八分音符
triplet | triplets | Triolen | triolets | tresillos | 三连音
sixteenth | sixteenth notes | Sechzehntel | doubles croches | semicorcheas | 十六分音符
thirty_second | thirty-second notes | Zweiunddreißigstel | triples croches | fusas | 三十二分音符
""")

CONTOURS = _table("""
up | up | auf | monte | sube | 上
down | down | ab | descend | baja | 下
same | same | gleich | tient | igual | 平
""")

GERMAN_NAMES = {"B": "H", "Bb": "B", "E": "E", "A": "A", "Eb": "Es", "Ab": "As"}
ROMANCE_NAMES = {"C": "do", "D": "ré", "E": "mi", "F": "fa", "G": "sol", "A": "la", "B": "si"}
