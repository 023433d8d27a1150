package flow

// maxHand is the largest hand whose cards are kept on the stack; a larger one (rare: 60 bits of hash allow 30 cards of four queues) is
// allocated.
const maxHand = 16

// deal picks hand different queues of so many by a hash: every flow has a hand of its own, and two flows seldom share all their cards,
// so that one that floods its queues leaves others a way around. to is where the cards go.
func deal(hash uint64, queues, hand int, to []int) []int {
	hash &= 1<<60 - 1
	to = to[:0]
	var room [maxHand]int
	sorted := room[:0]
	for i := range hand {
		left := uint64(queues - i)
		card := int(hash % left)
		hash /= left
		at := 0
		for at < len(sorted) && card >= sorted[at] { // the card-th of those that are left
			card++
			at++
		}
		sorted = append(sorted, 0)
		copy(sorted[at+1:], sorted[at:])
		sorted[at] = card
		to = append(to, card)
	}
	return to
}
