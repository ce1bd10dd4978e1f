"""Charsets by the names that mails give them.

A table of our own: Python's look-up keeps every name that it was ever asked for, and finds codecs
that are no charsets, some of which take a square of time.
"""

from __future__ import annotations

import codecs

_NAMES = """
ascii us-ascii ansi_x3.4-1968 646 iso-ir-6 iso646-us
utf-8 utf8 unicode-1-1-utf-8
utf-7 unicode-1-1-utf-7
utf-16
utf-16-le utf-16le
utf-16-be utf-16be
utf-32
utf-32-le utf-32le
utf-32-be utf-32be
iso8859-1 iso-8859-1 iso8859-1 iso_8859-1 latin1 latin-1 l1
iso8859-2 iso-8859-2 iso_8859-2 latin2
iso8859-3 iso-8859-3 iso_8859-3 latin3
iso8859-4 iso-8859-4 iso_8859-4 latin4
iso8859-5 iso-8859-5 iso_8859-5 cyrillic
iso8859-6 iso-8859-6 iso_8859-6 arabic iso-8859-6-e iso-8859-6-i
iso8859-7 iso-8859-7 iso_8859-7 greek
iso8859-8 iso-8859-8 iso_8859-8 iso-8859-8-i iso-8859-8-e hebrew
iso8859-9 iso-8859-9 iso_8859-9 latin5
iso8859-10 iso-8859-10 latin6
iso8859-11 iso-8859-11
iso8859-13 iso-8859-13
iso8859-14 iso-8859-14
iso8859-15 iso-8859-15 latin-9 latin9
iso8859-16 iso-8859-16
cp1250 windows-1250
cp1251 windows-1251
cp1252 windows-1252 ansi
cp1253 windows-1253
cp1254 windows-1254
cp1255 windows-1255
cp1256 windows-1256
cp1257 windows-1257
cp1258 windows-1258
cp874 windows-874 tis-620
koi8-r
koi8-u
mac-roman macintosh x-mac-roman
cp437 ibm437
cp850 ibm850
cp852 ibm852
cp855 ibm855
cp858 ibm00858
cp862 ibm862
cp866 ibm866
gb18030 gbk gb2312 x-gbk cp936 gb_2312-80 euc-cn
hz hz-gb-2312
big5hkscs big5-hkscs
cp950 big5 x-x-big5 big5-eten
cp932 shift_jis shift-jis sjis windows-31j x-sjis ms_kanji
euc-jp eucjp x-euc-jp
iso2022_jp_ext iso-2022-jp iso-2022-jp-1 csiso2022jp
iso2022_jp_2 iso-2022-jp-2
iso2022_jp_3 iso-2022-jp-3
cp949 euc-kr euckr ks_c_5601-1987 ks_c_5601 windows-949 uhc
iso2022_kr iso-2022-kr
johab
"""
_CODECS = {
    name: codec
    for codec, *names in map(str.split, _NAMES.strip().splitlines())
    for name in (codec, *names)
}


def codec_of(charset: str) -> str | None:
    """Python's name for a charset; None when nobody here knows it."""
    return _CODECS.get(charset.strip().lower())


def fits(data: bytes, codec: str) -> bool:
    """Whether these octets can be text in that charset."""
    try:
        codecs.decode(data, codec)
    except (UnicodeError, ValueError):
        return False
    return True
