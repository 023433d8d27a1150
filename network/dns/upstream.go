package dns

import (
	"bufio"
	"bytes"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// maxUpstreams is how many resolvers of a resolv.conf count (resolv.conf(5), MAXNS).
const maxUpstreams = 3

// HostUpstreams are the resolvers of a resolv.conf, which is read again when it changes. A file that cannot be read has none.
func HostUpstreams(path string) func() []netip.AddrPort {
	var (
		mu    sync.Mutex // guards all below
		mtime time.Time
		size  int64
		have  []netip.AddrPort
	)
	return func() []netip.AddrPort {
		mu.Lock()
		defer mu.Unlock()
		info, err := os.Stat(path)
		if err != nil {
			return nil
		}
		if info.ModTime().Equal(mtime) && info.Size() == size {
			return have
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		mtime, size, have = info.ModTime(), info.Size(), parseResolvConf(raw)
		return have
	}
}

// parseResolvConf reads the nameserver lines; what is no address is left out, as the C library does.
func parseResolvConf(raw []byte) []netip.AddrPort {
	var out []netip.AddrPort
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil && len(out) < maxUpstreams {
			out = append(out, netip.AddrPortFrom(a, 53))
		}
	}
	return out
}
