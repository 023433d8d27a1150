package pulled

import (
	"slices"
	"strings"
)

// verdict says whether a pod may use an image that is on the node, and why. The words are those of the metric.
type verdict string

const (
	byPolicy   verdict = "credentialPolicyAllowed"
	byRecord   verdict = "credentialRecordFound"
	refused    verdict = "mustAuthenticate"
	unreadable verdict = "error" // a file about the image, or a credential, cannot be read
)

// known is what the index has about an image.
type known struct {
	record *record
	begun  bool // a pull was begun, and is under way or was broken off
	broken bool // there is a file about it that cannot be read
}

// maxLearned is how many secrets of an image there may be before no more are noted that turn out to be as good: whoever makes namespaces
// all the time must not fill the disk.
const maxLearned = 100

// decide says whether a pod with these credentials may use an image by this name. learn, if set, is a secret to be noted: it is as good as
// one that is known. credentials is called only if they matter.
func (p *Policy) decide(image string, k known, credentials func() []Credential) (v verdict, learn *Secret) {
	switch {
	case p.allows(image, k.record != nil || k.begun || k.broken):
		return byPolicy, nil
	case k.broken:
		return unreadable, nil
	case k.record == nil:
		return refused, nil
	}
	name, err := trim(image)
	if err != nil {
		return unreadable, nil
	}
	by := k.record.By[name]
	if by.Everybody {
		return byRecord, nil
	}
	if len(by.Secrets) == 0 && len(by.Accounts) == 0 {
		return refused, nil
	}
	var account *Account // the first one counts: a pod has no other
	all := credentials()
	for i := range all {
		c := &all[i]
		switch {
		case c.Secret != nil:
			s, err := c.secret()
			if err != nil {
				return unreadable, nil
			}
			if known, ok := by.knows(s); ok {
				if known != s && len(by.Secrets) < maxLearned {
					learn = &s
				}
				return byRecord, learn
			}
		case c.Account != nil && account == nil:
			a := c.account()
			account = &a
		}
	}
	if account != nil && slices.Contains(by.Accounts, *account) {
		return byRecord, nil
	}
	return refused, nil
}

// knows finds a secret with the same content, or the same object with other content while there is room to note that.
func (by *Pullers) knows(s Secret) (Secret, bool) {
	for _, o := range by.Secrets {
		if o.Hash != "" && o.Hash == s.Hash || o.same(s) && len(by.Secrets) < maxLearned {
			return o, true
		}
	}
	return Secret{}, false
}

// merge adds who has pulled an image by a name to what is known of it. It returns orig where there is nothing new.
func merge(orig *record, name string, add Pullers) *record {
	if !add.Everybody && len(add.Secrets) == 0 && len(add.Accounts) == 0 {
		return orig
	}
	old, found := orig.By[name]
	now := old
	switch {
	case !found:
		now = add
	case old.Everybody:
		return orig
	case add.Everybody:
		now = Pullers{Everybody: true}
	default:
		now.Secrets, now.Accounts = mergeSecrets(old.Secrets, add.Secrets), mergeAccounts(old.Accounts, add.Accounts)
		if slices.Equal(now.Secrets, old.Secrets) && slices.Equal(now.Accounts, old.Accounts) {
			return orig
		}
	}
	out := *orig
	out.By = map[string]Pullers{}
	for k, v := range orig.By {
		out.By[k] = v
	}
	out.By[name] = now
	return &out
}

// mergeSecrets has each object once, with its newest content, in order.
func mergeSecrets(old, add []Secret) []Secret {
	out := slices.Clone(old)
	for _, s := range add {
		if i := slices.IndexFunc(out, s.same); i >= 0 {
			out[i] = s
		} else {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b Secret) int { return order(a.Namespace, b.Namespace, a.Name, b.Name, a.UID, b.UID) })
	return out
}

func mergeAccounts(old, add []Account) []Account {
	out := slices.Clone(old)
	for _, a := range add {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b Account) int { return order(a.Namespace, b.Namespace, a.Name, b.Name, a.UID, b.UID) })
	return out
}

// order compares pairs, the first first.
func order(pairs ...string) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		if c := strings.Compare(pairs[i], pairs[i+1]); c != 0 {
			return c
		}
	}
	return 0
}
