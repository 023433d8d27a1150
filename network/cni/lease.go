package cni

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// errNoAddress says that every address of a range is leased.
var errNoAddress = errors.New("no free address")

// leases are the addresses of one node and who owns them. The directory is the truth; the maps mirror it.
type leases struct {
	dir    string
	ranges []netip.Prefix

	mu     sync.Mutex // guards all below and the directory
	owners map[netip.Addr]string
	held   map[string][]netip.Addr
	last   []netip.Addr // per range: the address given out last, so that a freed one rests as long as possible
}

// openLeases reads the directory, which need not exist yet.
func openLeases(dir string, ranges []netip.Prefix) (*leases, error) {
	l := &leases{dir: dir, ranges: ranges, owners: map[netip.Addr]string{}, held: map[string][]netip.Addr{}}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	for _, r := range ranges {
		l.last = append(l.last, gateway(r))
	}
	newest := make([]time.Time, len(ranges))
	for _, e := range entries {
		addr, err := netip.ParseAddr(e.Name())
		if err != nil {
			continue // not ours
		}
		owner, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read lease %s: %w", addr, err)
		}
		l.owners[addr] = owner
		l.held[owner] = append(l.held[owner], addr)
		for i, r := range ranges {
			if info, err := e.Info(); err == nil && r.Contains(addr) && info.ModTime().After(newest[i]) {
				newest[i], l.last[i] = info.ModTime(), addr
			}
		}
	}
	for owner := range l.held {
		l.sort(l.held[owner])
	}
	return l, nil
}

// gateway is the first usable address of a range.
func gateway(r netip.Prefix) netip.Addr { return r.Masked().Addr().Next() }

// sort puts addresses into the order of the ranges.
func (l *leases) sort(addrs []netip.Addr) {
	rank := func(a netip.Addr) int {
		return slices.IndexFunc(l.ranges, func(r netip.Prefix) bool { return r.Contains(a) })
	}
	slices.SortFunc(addrs, func(a, b netip.Addr) int { return rank(a) - rank(b) })
}

// take leases one address of every range to owner, or gives those that it has already.
func (l *leases) take(owner string) ([]netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	have := slices.Clone(l.held[owner])
	for i, r := range l.ranges {
		if slices.ContainsFunc(have, r.Contains) {
			continue
		}
		addr, err := l.free(i)
		if err != nil {
			return nil, err
		}
		if err := os.Symlink(owner, filepath.Join(l.dir, addr.String())); err != nil {
			return nil, fmt.Errorf("write lease of %s: %w", addr, err)
		}
		l.owners[addr], l.last[i] = owner, addr
		have = append(have, addr)
		l.held[owner] = slices.Clone(have)
	}
	l.sort(have)
	l.held[owner] = slices.Clone(have)
	return have, nil
}

// free finds the next free address of a range, going round from the one given out last.
func (l *leases) free(i int) (netip.Addr, error) {
	r := l.ranges[i].Masked()
	first, addr := gateway(r), l.last[i]
	for range len(l.owners) + 4 { // so many are in use or reserved at most
		addr = addr.Next()
		if !r.Contains(addr) || isLast(r, addr) {
			addr = first.Next()
		}
		if !r.Contains(addr) || isLast(r, addr) {
			break // a range too small for any pod
		}
		if _, taken := l.owners[addr]; !taken {
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("range %s: %w", r, errNoAddress)
}

// isLast says whether addr is the broadcast address of an IPv4 range.
func isLast(r netip.Prefix, addr netip.Addr) bool {
	return addr.Is4() && !r.Contains(addr.Next())
}

// release frees all addresses of owner and returns them.
func (l *leases) release(owner string) ([]netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	addrs := l.held[owner]
	for _, a := range addrs {
		if err := os.Remove(filepath.Join(l.dir, a.String())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("remove lease of %s: %w", a, err)
		}
		delete(l.owners, a)
	}
	delete(l.held, owner)
	return addrs, nil
}

// of is the addresses that owner holds.
func (l *leases) of(owner string) []netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.held[owner])
}

// all is every owner of a lease.
func (l *leases) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]string, 0, len(l.held))
	for owner := range l.held {
		out = append(out, owner)
	}
	slices.Sort(out)
	return out
}
