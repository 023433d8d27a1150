package nft

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
)

// Family is the address family of a table: IPv4 or IPv6.
type Family nftables.TableFamily

// The families.
const (
	IPv4 = Family(nftables.TableFamilyIPv4)
	IPv6 = Family(nftables.TableFamilyIPv6)
)

// String is "ip" or "ip6", as nft writes it.
func (f Family) String() string {
	if f == IPv6 {
		return "ip6"
	}
	return "ip"
}

// Table names one table.
type Table struct {
	Family Family
	Name   string
}

// String is "ip proa-services".
func (t Table) String() string { return t.Family.String() + " " + t.Name }

// Set describes a set or map; its name is unique within the table.
type Set struct {
	Name string
	Key  []Type
	Data []Type // what a map gives; empty for sets and verdict maps
	// Verdicts makes it a map to verdicts.
	Verdicts bool
	// Dynamic lets rules add elements, which live for the rule's timeout. Size bounds their number.
	Dynamic bool
	Size    uint32
	// Ranges lets elements be ranges of keys (Element.KeyEnd).
	Ranges bool
}

// Verdict is what a verdict map answers. The zero value is no verdict.
type Verdict struct {
	Kind  VerdictKind
	Chain string // for Goto and Jump
}

// VerdictKind is one of the constants below.
type VerdictKind int8

// The kinds of verdicts.
const (
	NoVerdict VerdictKind = iota
	Goto
	Jump
	Drop
	Return
)

// Element is one entry of a set or map. Keys and values are raw bytes, every field padded to four bytes, kept as strings so
// that elements compare.
type Element struct {
	Key     string
	KeyEnd  string // inclusive; only for sets with Ranges
	Val     string
	Verdict Verdict
}

// Chain is a base chain (Hook is not nil) or a regular one.
type Chain struct {
	Name  string
	Hook  *Hook
	Rules []Rule
}

// Hook ties a base chain to a place in the packet's path. Its policy is accept.
type Hook struct {
	Type     string // "nat", "filter"
	Point    HookPoint
	Priority int32 // lower comes first
}

// HookPoint is where in a packet's path a base chain stands.
type HookPoint uint32

// The points, with the numbers of linux/netfilter.h.
const (
	Prerouting HookPoint = iota
	Input
	Forward
	Output
	Postrouting
)

// String is the name of the point as nft writes it.
func (p HookPoint) String() string {
	return [...]string{"prerouting", "input", "forward", "output", "postrouting"}[p]
}

// Ruleset is all that one table shall hold.
type Ruleset struct {
	Table
	Sets     []Set
	Chains   []Chain
	Elements map[string][]Element // by name of the set
	// Version says how regular chains are written. A table of another version is replaced.
	Version string
}

// Layout is a fingerprint of the sets and base chains of r: of all that must be equal for an existing table to be adopted.
// Regular chains are not part of it; their name says their contents.
func (r *Ruleset) Layout() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", r.Version)
	for _, s := range r.Sets {
		fmt.Fprintf(h, "%+v\n", s)
	}
	for _, c := range r.Chains {
		if c.Hook != nil {
			fmt.Fprintf(h, "%s %+v %s\n", c.Name, *c.Hook, c.text())
		}
	}
	return layoutPrefix + hex.EncodeToString(h.Sum(nil)[:8])
}

// layoutPrefix begins the name of the empty chain that marks a table with the layout it was made from.
const layoutPrefix = "layout."

// State is what the kernel holds of one table.
type State struct {
	Exists   bool
	Layout   string
	Chains   map[string]bool // regular chains
	Elements map[string]map[string]Element
}

// Change is one step from what is to what shall be, done in one transaction.
type Change struct {
	Table
	// Replace deletes the table first, if it exists, and makes it anew with Sets and Chains.
	Replace    bool
	Sets       []Set
	Chains     []Chain // made before elements are added
	Remove     map[string][]Element
	Add        map[string][]Element
	DropChains []string // removed after the elements
}

// Empty says whether there is nothing to do.
func (c *Change) Empty() bool {
	return !c.Replace && len(c.Sets) == 0 && len(c.Chains) == 0 && len(c.Remove) == 0 && len(c.Add) == 0 && len(c.DropChains) == 0
}

// Put notes an element to add.
func (c *Change) Put(set string, e Element) {
	if c.Add == nil {
		c.Add = map[string][]Element{}
	}
	c.Add[set] = append(c.Add[set], e)
}

// Take notes an element to remove.
func (c *Change) Take(set string, e Element) {
	if c.Remove == nil {
		c.Remove = map[string][]Element{}
	}
	c.Remove[set] = append(c.Remove[set], e)
}

// Diff is what turns have into want: a replacement where the layout differs, else chains and elements that come and go.
// Elements of dynamic sets belong to the rules and are left alone.
func Diff(have State, want *Ruleset) Change {
	ch := Change{Table: want.Table}
	if !have.Exists || have.Layout != want.Layout() {
		ch.Replace, ch.Sets, ch.Chains, ch.Add = true, want.Sets, want.Chains, want.Elements
		ch.Chains = append([]Chain{{Name: want.Layout()}}, ch.Chains...)
		return ch
	}
	wanted := map[string]bool{}
	for _, c := range want.Chains {
		if c.Hook != nil {
			continue
		}
		wanted[c.Name] = true
		if !have.Chains[c.Name] {
			ch.Chains = append(ch.Chains, c)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.Chains)) {
		if !wanted[name] {
			ch.DropChains = append(ch.DropChains, name)
		}
	}
	for _, s := range want.Sets {
		if !s.Dynamic {
			diffElements(&ch, s.Name, have.Elements[s.Name], want.Elements[s.Name])
		}
	}
	return ch
}

func diffElements(ch *Change, set string, have map[string]Element, want []Element) {
	keep := make(map[string]bool, len(want))
	for _, e := range want {
		old, ok := have[e.id()]
		keep[e.id()] = true
		if ok && old == e {
			continue
		}
		if ok {
			ch.Take(set, old)
		}
		ch.Put(set, e)
	}
	for _, id := range slices.Sorted(maps.Keys(have)) {
		if !keep[id] {
			ch.Take(set, have[id])
		}
	}
}

// id tells elements of one set apart.
func (e Element) id() string {
	if e.KeyEnd == "" {
		return e.Key
	}
	return e.Key + "-" + e.KeyEnd
}

// Text is the rule set in a form for people and golden files: sets, chains with their rules, elements sorted by key.
func (r *Ruleset) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s\n", r.Table)
	kinds := map[string]Set{}
	for _, s := range r.Sets {
		kinds[s.Name] = s
		fmt.Fprintf(&b, "set %s\n", s.text())
	}
	for _, c := range r.Chains {
		fmt.Fprintf(&b, "chain %s\n%s", c.heading(), c.text())
	}
	for _, name := range slices.Sorted(maps.Keys(r.Elements)) {
		es := slices.SortedFunc(slices.Values(r.Elements[name]), func(a, b Element) int { return cmp.Compare(a.id(), b.id()) })
		for _, e := range es {
			fmt.Fprintf(&b, "element %s %s\n", name, e.text(kinds[name]))
		}
	}
	return b.String()
}

func (s Set) text() string {
	out := s.Name + " " + typesText(s.Key)
	switch {
	case s.Verdicts:
		out += " : verdict"
	case len(s.Data) > 0:
		out += " : " + typesText(s.Data)
	}
	if s.Dynamic {
		out += fmt.Sprintf(" dynamic size %d", s.Size)
	}
	if s.Ranges {
		out += " ranges"
	}
	return out
}

func (c Chain) heading() string {
	if c.Hook == nil {
		return c.Name
	}
	return fmt.Sprintf("%s: %s %s %d", c.Name, c.Hook.Type, c.Hook.Point, c.Hook.Priority)
}

func (c Chain) text() string {
	var b strings.Builder
	for _, r := range c.Rules {
		b.WriteString("\t" + r.Text + "\n")
	}
	return b.String()
}

func (e Element) text(s Set) string {
	out := fieldsText(s.Key, e.Key)
	if e.KeyEnd != "" {
		out += " - " + fieldsText(s.Key, e.KeyEnd)
	}
	switch e.Verdict.Kind {
	case Goto:
		return out + " : goto " + e.Verdict.Chain
	case Jump:
		return out + " : jump " + e.Verdict.Chain
	case Drop:
		return out + " : drop"
	case Return:
		return out + " : return"
	}
	if e.Val != "" {
		out += " : " + fieldsText(s.Data, e.Val)
	}
	return out
}

// seconds is d in whole seconds, as rule texts show it.
func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Seconds())) }

// Text is the change in a form for people and golden files; sets says how to read the elements.
func (c *Change) Text(sets []Set) string {
	var b strings.Builder
	if c.Replace {
		fmt.Fprintf(&b, "replace table %s\n", c.Table)
	}
	for _, ch := range c.Chains {
		fmt.Fprintf(&b, "%s: add chain %s\n%s", c.Table, ch.heading(), ch.text())
	}
	for _, part := range []struct {
		verb string
		of   map[string][]Element
	}{{"remove", c.Remove}, {"add", c.Add}} {
		for _, s := range sets {
			es := slices.SortedFunc(slices.Values(part.of[s.Name]), func(a, b Element) int { return cmp.Compare(a.id(), b.id()) })
			for _, e := range es {
				fmt.Fprintf(&b, "%s: %s %s %s\n", c.Table, part.verb, s.Name, e.text(s))
			}
		}
	}
	for _, name := range c.DropChains {
		fmt.Fprintf(&b, "%s: drop chain %s\n", c.Table, name)
	}
	return b.String()
}
