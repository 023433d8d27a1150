package owners

import (
	"bytes"
	"errors"
	"unicode/utf8"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

const hexDigits = "0123456789abcdef"

// appendSet is s in JSON, byte for byte as the library writes it.
func appendSet(b []byte, s set) []byte {
	b = append(b, '{')
	for i := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendElement(b, &s[i])
	}
	return append(b, '}')
}

func appendElement(b []byte, e *element) []byte {
	b = append(b, '"', e.kind, ':')
	b = appendEscaped(b, e.text)
	b = append(b, '"', ':')
	switch {
	case len(e.sub) == 0:
		return append(b, '{', '}')
	case e.member:
		b = append(b, `{".":{},`...)
		from := len(b)
		b = appendSet(b, e.sub)
		return append(b[:from], b[from+1:]...) // its brace is there already
	}
	return appendSet(b, e.sub)
}

// appendEscaped is what stands between the quotes of a JSON string. HTML is not escaped here.
func appendEscaped(b []byte, s string) []byte {
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		switch from = i + 1; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		}
	}
	return append(b, s[from:]...)
}

// parse reads a set. same says that appendSet would write these very bytes.
func parse(raw []byte) (s set, same bool, err error) {
	p := parser{b: raw}
	if s, ok := p.set(); ok && p.at == len(raw) {
		return s, true, nil
	}
	// Not as we write it, or not at all: the library knows.
	var theirs fieldpath.Set
	if err := theirs.FromJSON(bytes.NewReader(raw)); err != nil {
		return nil, false, err
	}
	s, err = parsed(&theirs)
	return s, false, err
}

// parser reads sets that are written as appendSet does, and gives up on everything else.
type parser struct {
	b    []byte
	at   int
	deep int
}

// deepest bounds the recursion: no type nests half as deep.
const deepest = 100

func (p *parser) eat(what string) bool {
	if len(p.b)-p.at < len(what) || string(p.b[p.at:p.at+len(what)]) != what {
		return false
	}
	p.at += len(what)
	return true
}

func (p *parser) set() (set, bool) {
	if !p.eat("{") {
		return nil, false
	}
	if p.eat("}") {
		return nil, true
	}
	return p.elements()
}

// elements reads what follows the brace that opens a set.
func (p *parser) elements() (out set, ok bool) {
	if p.deep++; p.deep > deepest {
		return nil, false
	}
	defer func() { p.deep-- }()
	for {
		e, ok := p.element()
		if !ok || len(out) > 0 && order(&out[len(out)-1], &e) >= 0 {
			return nil, false
		}
		out = append(out, e)
		if p.eat("}") {
			return out, true
		}
		if !p.eat(",") {
			return nil, false
		}
	}
}

func (p *parser) element() (e element, ok bool) {
	if !p.eat(`"`) || len(p.b)-p.at < 2 || p.b[p.at+1] != ':' {
		return e, false
	}
	e.kind = p.b[p.at]
	p.at += 2
	if e.text, ok = p.text(); !ok || !plain(e.kind, e.text) || !p.eat(":{") {
		return e, false
	}
	switch {
	case p.eat("}"):
		e.member = true
		return e, true
	case p.eat(`".":{},`):
		e.member = true
	}
	e.sub, ok = p.elements()
	return e, ok
}

// text reads up to the quote that ends a string. Of escapes it knows those of quotes.
func (p *parser) text() (string, bool) {
	from, escaped := p.at, 0
	for ; p.at < len(p.b); p.at++ {
		switch c := p.b[p.at]; {
		case c == '"':
			raw := p.b[from:p.at]
			p.at++
			if !utf8.Valid(raw) {
				return "", false
			}
			if escaped == 0 {
				return string(raw), true
			}
			out := make([]byte, 0, len(raw)-escaped)
			for i := 0; i < len(raw); i++ {
				if raw[i] == '\\' {
					i++
				}
				out = append(out, raw[i])
			}
			return string(out), true
		case c == '\\':
			if p.at++; p.at == len(p.b) || p.b[p.at] != '"' && p.b[p.at] != '\\' {
				return "", false
			}
			escaped++
		case c < ' ':
			return "", false
		}
	}
	return "", false
}

// plain says whether text is what an element of this kind has when it is written anew: names in order, plain strings and whole numbers.
func plain(kind byte, text string) bool {
	switch kind {
	case field:
		return true
	case value:
		return plainScalar(text)
	case item:
		if text == "" || text[0] != '{' {
			return false
		}
		last := ""
		for s := text[1:]; ; {
			name, val, rest, ok := nextKey(s)
			if !ok || name <= last || !plainScalar(val) || !plainString(name) {
				return false
			}
			if rest == "" {
				return true
			}
			last, s = name, rest
		}
	}
	return false
}

func plainScalar(s string) bool {
	switch {
	case s == "":
		return false
	case s == "true" || s == "false":
		return true
	case s[0] == '"':
		return len(s) >= 2 && s[len(s)-1] == '"' && plainString(s[1:len(s)-1])
	}
	digits := s
	if digits[0] == '-' {
		digits = digits[1:]
	}
	if digits == "" || len(digits) > 18 || digits[0] == '0' && len(s) > 1 {
		return false
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return false
		}
	}
	return true
}

// plainString says whether JSON writes s as it is.
func plainString(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c >= utf8.RuneSelf, c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}

var errKeys = errors.New("an item of a list has none of the fields that tell it from the others")
