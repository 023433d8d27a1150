package h2

import (
	"net/http"
	"strconv"

	"golang.org/x/net/http/httpguts"
)

// Fields are encoded as literals, without a table of what was sent before (RFC 7541 section 6.2.2): what an answer says differs from
// that of the one before it or is short, an idle connection keeps nothing, and header blocks need no order among streams.

// statusContinue is the block of a 100 (Continue).
const statusContinue = "\x08\x03100"

// appendStatus appends :status.
func appendStatus(b []byte, status int) []byte {
	switch status { // RFC 7541 appendix A
	case http.StatusOK:
		return append(b, 0x88)
	case http.StatusNoContent:
		return append(b, 0x89)
	case http.StatusPartialContent:
		return append(b, 0x8a)
	case http.StatusNotModified:
		return append(b, 0x8b)
	case http.StatusBadRequest:
		return append(b, 0x8c)
	case http.StatusNotFound:
		return append(b, 0x8d)
	case http.StatusInternalServerError:
		return append(b, 0x8e)
	}
	return strconv.AppendInt(append(b, 0x08, 3), int64(status), 10)
}

// appendFields appends a field of a header for each of its values. What HTTP/2 forbids is left out: RFC 9113 section 8.2.2.
func appendFields(b []byte, name string, values []string) []byte {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Upgrade":
		return b
	}
	if !httpguts.ValidHeaderFieldName(name) {
		return b
	}
	for _, v := range values {
		if !httpguts.ValidHeaderFieldValue(v) || name == "Transfer-Encoding" && v != "trailers" {
			continue
		}
		b = appendField(b, name, v)
	}
	return b
}

// appendField appends a literal that is not to be remembered.
func appendField(b []byte, name, value string) []byte {
	if i := static(name); i != 0 {
		b = appendInt(b, 4, uint64(i))
	} else {
		b = appendInt(append(b, 0), 7, uint64(len(name)))
		for i := range len(name) {
			c := name[i]
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			b = append(b, c)
		}
	}
	return append(appendInt(b, 7, uint64(len(value))), value...)
}

// appendInt appends an integer with a prefix of so many bits, RFC 7541 section 5.1. The bits before the prefix are 0.
func appendInt(b []byte, bits uint, n uint64) []byte {
	most := uint64(1)<<bits - 1
	if n < most {
		return append(b, byte(n))
	}
	b = append(b, byte(most))
	for n -= most; n >= 128; n >>= 7 {
		b = append(b, byte(n)|128)
	}
	return append(b, byte(n))
}

// static is where the table of RFC 7541 appendix A has a name that answers have, or 0.
func static(name string) int {
	switch name {
	case "Accept-Ranges":
		return 18
	case "Age":
		return 21
	case "Allow":
		return 22
	case "Cache-Control":
		return 24
	case "Content-Disposition":
		return 25
	case "Content-Encoding":
		return 26
	case "Content-Length":
		return 28
	case "Content-Type":
		return 31
	case "Date":
		return 33
	case "Etag":
		return 34
	case "Expires":
		return 36
	case "Last-Modified":
		return 44
	case "Location":
		return 46
	case "Retry-After":
		return 53
	case "Server":
		return 54
	case "Set-Cookie":
		return 55
	case "Vary":
		return 59
	case "Www-Authenticate":
		return 61
	}
	return 0
}
