package h2

import (
	"encoding/binary"
	"fmt"
)

// Frame types, RFC 9113 section 6.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	framePriority     = 0x2
	frameReset        = 0x3
	frameSettings     = 0x4
	framePush         = 0x5
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindow       = 0x8
	frameContinuation = 0x9
)

// Flags of frames.
const (
	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Settings, RFC 9113 section 6.5.2.
const (
	settingTableSize     = 0x1
	settingPush          = 0x2
	settingMaxStreams    = 0x3
	settingInitialWindow = 0x4
	settingMaxFrame      = 0x5
	settingMaxHeaderList = 0x6
)

// code is why a stream or a connection ends, RFC 9113 section 7.
type code uint32

const (
	noError            code = 0x0
	protocolError      code = 0x1
	internalError      code = 0x2
	flowControlError   code = 0x3
	streamClosed       code = 0x5
	frameSizeError     code = 0x6
	refusedStream      code = 0x7
	compressionError   code = 0x9
	enhanceYourCalm    code = 0xb
	inadequateSecurity code = 0xc
)

const (
	preface       = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	headLen       = 9
	minMaxFrame   = 1 << 14
	maxMaxFrame   = 1<<24 - 1
	maxWindow     = 1<<31 - 1
	defaultWindow = 1<<16 - 1
)

// connError ends the connection with a GOAWAY.
type connError struct {
	code code
	why  string
}

func (e *connError) Error() string { return fmt.Sprintf("HTTP/2 error %d: %s", e.code, e.why) }

// streamError resets one stream.
type streamError struct {
	id   uint32
	code code
	why  string
}

func (e *streamError) Error() string {
	return fmt.Sprintf("HTTP/2 error %d on stream %d: %s", e.code, e.id, e.why)
}

// frame is the head of a frame.
type frame struct {
	kind, flags byte
	stream      uint32
	length      int
}

func (f frame) has(flag byte) bool { return f.flags&flag != 0 }

// parseHead reads the head of a frame. The reserved bit is ignored.
func parseHead(b *[headLen]byte) frame {
	return frame{length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]), kind: b[3], flags: b[4], stream: binary.BigEndian.Uint32(b[5:]) &^ (1 << 31)}
}

// appendHead appends the head of a frame.
func appendHead(b []byte, f frame) []byte {
	b = append(b, byte(f.length>>16), byte(f.length>>8), byte(f.length), f.kind, f.flags)
	return binary.BigEndian.AppendUint32(b, f.stream)
}

func appendReset(b []byte, id uint32, c code) []byte {
	b = appendHead(b, frame{length: 4, kind: frameReset, stream: id})
	return binary.BigEndian.AppendUint32(b, uint32(c))
}

func appendWindow(b []byte, id uint32, n int32) []byte {
	b = appendHead(b, frame{length: 4, kind: frameWindow, stream: id})
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

func appendGoAway(b []byte, last uint32, c code) []byte {
	b = appendHead(b, frame{length: 8, kind: frameGoAway})
	b = binary.BigEndian.AppendUint32(b, last)
	return binary.BigEndian.AppendUint32(b, uint32(c))
}

// setting is one parameter of a SETTINGS frame.
type setting struct {
	id    uint16
	value uint32
}

func appendSettings(b []byte, list ...setting) []byte {
	b = appendHead(b, frame{length: 6 * len(list), kind: frameSettings})
	for _, s := range list {
		b = binary.BigEndian.AppendUint16(b, s.id)
		b = binary.BigEndian.AppendUint32(b, s.value)
	}
	return b
}

// appendBlock appends a header block: HEADERS, and CONTINUATION where it is longer than a frame may be.
func appendBlock(b []byte, id uint32, block []byte, end bool, most int) []byte {
	f := frame{kind: frameHeaders, stream: id}
	if end {
		f.flags = flagEndStream
	}
	for {
		part := block[:min(len(block), most)]
		block = block[len(part):]
		f.length = len(part)
		if len(block) == 0 {
			f.flags |= flagEndHeaders
		}
		b = append(appendHead(b, f), part...)
		if len(block) == 0 {
			return b
		}
		f.kind, f.flags = frameContinuation, 0
	}
}
