"""Lines of text that tell CLIP tokenizers apart, for make_clip_tokens.py and compare_clip_tokens.py."""

import random
import unicodedata

TELLING = """
a photo of an astronaut riding a horse on mars|A PHOTO Of An Astronaut|an  astronaut   riding\ta\nhorse
it's don't we're I've I'm they'll he'd rock'n'roll|IT'S DON'T WE'RE I'VE I'M THEY'LL HE'D|'s't're've'm'll'd|' s ' t
dogs' toys|''quoted''|it’s “quoted”|o'clock 'tis 'twas|''s|!'s|x'sy|l'll'l
1234567890|3.14159|1,000,000|4k 8K hdr10+|a1b2c3|٠١٢٣٤٥٦٧٨٩|②③④ Ⅳ ½ ¾ 五|१२३|１２３ ＡＢＣ
masterpiece, best quality, (ultra-detailed:1.2), [blurry]|--ar 16:9 --v 5|#hashtag @user http://a.b/c?d=e&f=g
<|startoftext|>|<|endoftext|>|a <|startoftext|> b <|endoftext|> c|<|startoftext|><|endoftext|>|x<|endoftext|>y
<|STARTOFTEXT|> <|EndOfText|>|<|startoftext |>|<|endoftext|>!!|!<|endoftext|>|<|endoftext|<|endoftext|>|</w> a</w>
!|!!|a!b|hey ! you !!|!!!!!!!!!!|<pad> <unk> [CLS]|<|>|<||>
é e\u0301 ê e\u0302 ñ n\u0303|Å A\u030a \u212b|ﬁ ﬂ ﬀ ſ ß ẞ|\u1100\u1161\u11a8 각|q\u0323\u0307 q\u0307\u0323|\u0344 \u0958 \u0f43|\u2126 \u212a
İstanbul ISTANBUL ıi|ΑΒΓ ΣΑΣ ὈΔΥΣΣΕΎΣ|ǅ ǈ ǋ Ǳ|ÀÈÌÒÙ ÇÑÕ ŠŽ|Ⅷ Ⓐ|ԱԲԳ|ႠႡ Ა|Ꭰ ꭰ|𐐀 𐐨|Ａｂ
你好，世界|這是一隻貓。|こんにちは世界 カタカナ ｶﾀｶﾅ|안녕하세요 세계|ไทย ภาษา|हिन्दी में|বাংলা|தமிழ்|తెలుగు|ಕನ್ನಡ|മലയാളം
Привет, мир! ПРИВЕТ|Ελληνικά|שָׁלוֹם עולם|مَرْحَبًا بالعالم|فارسی ‌نیم‌فاصله|ქართული|Հայերեն|አማርኛ|ᏣᎳᎩ|ᐃᓄᒃᑎᑐᑦ|ᚠᚢᚦ|𒀀𒁀|𓀀𓁀
😀|😂🤣😭|👩‍👩‍👧‍👦|👨🏽‍💻 👩🏿‍🚀|🏳️‍🌈 🏴‍☠️|🇩🇪🇫🇷🇯🇵|🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f|1️⃣ #️⃣|❤️ ❤|cat😺dog|👍🏻👍🏼👍🏽👍🏾👍🏿
zero\u200bwidth|non\u00a0breaking|ideo\u3000graphic|thin\u2009hair\u200aspace|line\u2028para\u2029sep|nel\u0085x|bom\ufeffx|word\u2060joiner|ogham\u1680x|mvs\u180ex
\x00|a\x00b|\x01\x02\x1b[31m|tab\tvt\x0bff\x0ccr\r|fs\x1cgs\x1drs\x1eus\x1f|del\x7f|c1\x80\x9f|soft\u00adhyphen
\ufffd|\ufffe|\uffff|\ue000|\U0010ffff|\U000f0000|\U0001fffe|\u0378
a\u0300\u0301\u0302\u0303\u0304|Z\u0351\u036b\u0343a\u0331lgo|\u0301|\u0301a|\u20dd|x\u20d7|\u0345\u0301|a\u0315\u0300\u05ae\u0062
±×÷≠≤≥∞∑∫√|←↑→↓⇒|€£¥₹₿|©®™°|…—–•·|½¼|₁₂³|α≈β|𝒜𝓁𝓁 𝕞𝕒𝕥𝕙 𝟘𝟙|ℝℂℕ|㎏㎡|ﷺ|꧅|𝄞
pneumonoultramicroscopicsilicovolcanoconiosis|aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa|lalalalalalalalalalala|Donaudampfschifffahrtsgesellschaft
| |\n\n|.|,|,,,,|a|A|z\n|  lead and trail  |_under_score_|snake_case camelCase kebab-case|C++ C# F#|e.g. i.e. etc.|a/b\\c|(a)(b)[c]{d}
""".strip("\n")


def telling_lines():
    """The lines above, cut at '|' unless it belongs to a marker."""
    lines = []
    for row in TELLING.split("\n"):
        row = row.replace("<|", "\ue0f0").replace("|>", "\ue0f1")
        for piece in row.split("|"):
            lines.append(piece.replace("\ue0f0", "<|").replace("\ue0f1", "|>"))
    return list(dict.fromkeys(lines))


BLOCKS = [
    (0x0, 0x7F), (0x80, 0x24F), (0x250, 0x2FF), (0x300, 0x36F), (0x370, 0x52F), (0x530, 0x5FF), (0x600, 0x77F),
    (0x780, 0x8FF), (0x900, 0xDFF), (0xE00, 0xFFF), (0x1000, 0x11FF), (0x1200, 0x139F), (0x13A0, 0x167F),
    (0x1680, 0x1AFF), (0x1B00, 0x1DBF), (0x1DC0, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x2BFF), (0x2C00, 0x2DFF),
    (0x2E00, 0x33FF), (0x3400, 0x9FFF), (0xA000, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xF8FF), (0xF900, 0xFFFF),
    (0x10000, 0x10FFF), (0x11000, 0x11FFF), (0x12000, 0x143FF), (0x16000, 0x18DFF), (0x1B000, 0x1BFFF),
    (0x1D000, 0x1DFFF), (0x1E000, 0x1EFFF), (0x1F000, 0x1FAFF), (0x20000, 0x323AF), (0xE0000, 0xE01EF)]
WORDS = "a the cat Dog RIVER sunset oil-painting 8k it's don't photo of in style, by lighthouse ultra detailed".split()
EMOJI = ["😀", "❤️", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇯🇵", "1️⃣", "🧑🏿‍🦱", "☕", "✨"]
SPACES = [" ", "  ", "\t", "\n", "\u00a0", "\u3000", "\u2009", "\u200b", "\u2028", "\x85", "\x1c", "\r\n", "", "", " ", " "]
MARKERS = ["<|startoftext|>", "<|endoftext|>", "<|ENDOFTEXT|>", "<|", "|>", "'s", "'T", "'re", "!", "</w>"]


def random_piece(rng):
    kind = rng.randrange(8)
    if kind <= 1:
        return rng.choice(WORDS)
    if kind == 2:
        return rng.choice(EMOJI)
    if kind == 3:
        return rng.choice(MARKERS)
    if kind == 4:
        return str(rng.randrange(10 ** rng.randrange(1, 12)))
    if kind == 5:
        return unicodedata.normalize("NFD", rng.choice("éñÅ한ữḋệ") * rng.randrange(1, 3)) + chr(rng.randrange(0x300, 0x370))
    low, high = rng.choice(BLOCKS)
    return "".join(chr(rng.randint(low, high)) for _ in range(rng.randrange(1, 12)))


def random_lines(count, seed):
    rng = random.Random(seed)
    for _ in range(count):
        line = "".join(random_piece(rng) + rng.choice(SPACES) for _ in range(rng.randrange(1, 14)))
        yield line


def every_character():
    """Every code point but surrogates, between a letter and a mark, an apostrophe and a digit."""
    for c in range(0x110000):
        if not 0xD800 <= c < 0xE000:
            yield f"x{chr(c)}\u0323{chr(c)}.{chr(c)}'s{chr(c)}7"
