package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Guard hears of tables that somebody deletes: "nft flush ruleset", which restarting many a firewall service means, takes all
// tables of the machine with it.
type Guard struct{ nl *netlink.Conn }

// NewGuard listens from now on, in the network namespace of the calling thread.
func NewGuard() (*Guard, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open nftables socket: %w", err)
	}
	g := &Guard{nl}
	filter, err := bpf.Assemble(deletions)
	if err == nil {
		err = nl.SetBPF(filter)
	}
	if err == nil {
		err = nl.JoinGroup(unix.NFNLGRP_NFTABLES)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen to nftables: %w", err), nl.Close())
	}
	return g, nil
}

// deletions is a socket filter that lets through only what may tell of a deleted table. The kernel packs the messages of one
// transaction together, and a table is deleted after what is in it; so the first message of a packet is looked at, and elements
// that come and go, nearly all there is to hear, never reach the process.
var deletions = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 4, Size: 2}, // nlmsghdr.nlmsg_type: in host order, read as big endian
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: messageType(unix.NFT_MSG_DELTABLE), SkipTrue: 4},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: messageType(unix.NFT_MSG_DELCHAIN), SkipTrue: 3},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: messageType(unix.NFT_MSG_DELRULE), SkipTrue: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: messageType(unix.NFT_MSG_DELSET), SkipTrue: 1},
	bpf.RetConstant{Val: 0},
	bpf.RetConstant{Val: 1 << 18},
}

// messageType is a message type of nftables as the filter reads it.
func messageType(msg uint16) uint32 {
	raw := binary.NativeEndian.AppendUint16(nil, unix.NFNL_SUBSYS_NFTABLES<<8|msg)
	return uint32(binary.BigEndian.Uint16(raw))
}

// Run calls deleted for every table that is deleted, by this process too, until ctx ends; then the guard is of no use any more. If
// events were lost it calls deleted with the zero Table.
func (g *Guard) Run(ctx context.Context, deleted func(Table)) error {
	stop := context.AfterFunc(ctx, func() { g.nl.Close() })
	defer stop()
	for {
		msgs, err := g.nl.Receive()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, unix.ENOBUFS) {
			deleted(Table{})
			continue
		}
		if err != nil {
			return fmt.Errorf("listen to nftables: %w", err)
		}
		for _, m := range msgs {
			if t, ok := deletedTable(m); ok {
				deleted(t)
			}
		}
	}
}

// Close ends a guard that does not run.
func (g *Guard) Close() error { return g.nl.Close() }

func deletedTable(m netlink.Message) (Table, bool) {
	const header = 4 // nfgenmsg: family, version, resource id
	if uint16(m.Header.Type) != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_DELTABLE || len(m.Data) < header {
		return Table{}, false
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[header:])
	if err != nil {
		return Table{}, false
	}
	t := Table{Family: Family(m.Data[0])}
	for ad.Next() {
		if ad.Type() == unix.NFTA_TABLE_NAME {
			t.Name = strings.TrimRight(ad.String(), "\x00")
		}
	}
	return t, ad.Err() == nil && t.Name != ""
}
