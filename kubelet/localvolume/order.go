package localvolume

import (
	"context"
	"encoding/json"
	"errors"
	"maps"

	core "k8s.io/api/core/v1"

	kinds "proa.dev/kinds/storage"
)

// copies makes the copies that nodes from the channel ask for, one after the other, until ctx ends. What failed is tried again with the next.
func (d *Driver) copies(ctx context.Context, nodes <-chan *core.Node) {
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-nodes:
			d.carryOut(ctx, n)
		}
	}
}

// carryOut carries out the orders on the node, and answers.
func (d *Driver) carryOut(ctx context.Context, n *core.Node) {
	done, answers := kinds.LocalAnswers(n), map[string]string{}
	for id, o := range kinds.LocalOrders(n) {
		if said, ok := done[id]; ok && (o.Drop && said == kinds.LocalDropped || !o.Drop && said == "") {
			answers[id] = said
			continue
		}
		err := d.carry(ctx, id, o)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			answers[id] = err.Error()
			d.Log.Warn("local volume not copied", "volume", id, "from", o.From, "err", err)
		case o.Drop:
			answers[id] = kinds.LocalDropped
		default:
			answers[id] = ""
			d.Log.Info("local volume copied", "volume", id, "from", o.From)
		}
	}
	if maps.Equal(answers, done) {
		return
	}
	text := ""
	if len(answers) > 0 {
		b, err := json.Marshal(answers)
		if err != nil {
			panic(err) // strings always marshal
		}
		text = string(b)
	}
	if err := d.annotate(ctx, kinds.LocalCopied, text); err != nil && ctx.Err() == nil {
		d.Log.Warn("copies of local volumes not told", "err", err) // as with tidy
	}
}

func (d *Driver) carry(ctx context.Context, id string, o kinds.LocalOrder) error {
	if o.Drop {
		return d.store.remove(id)
	}
	_, err := d.store.copy(ctx, id, o.From, o.Bytes, o.Enforced)
	if errors.Is(err, errNotFound) { // no pod had it yet, so there is nothing in it
		_, err = d.store.make(id, o.Bytes, o.Enforced)
	}
	return err
}
