package service

import (
	"context"
	"errors"

	"proa.dev/network/nft"
)

// Cleanup removes the tables from the network namespace of the calling thread. No proxy may run. The routes of the service
// ranges go with route.Cleanup.
func Cleanup(context.Context) error {
	conn, err := nft.Open()
	if err != nil {
		return err
	}
	defer conn.Close()
	tables, err := conn.Tables(tableName)
	for _, t := range tables {
		err = errors.Join(err, conn.Delete(t))
	}
	return err
}

// Leftovers lists what Cleanup would remove, for people.
func Leftovers() ([]string, error) {
	conn, err := nft.Open()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	tables, err := conn.Tables(tableName)
	var out []string
	for _, t := range tables {
		out = append(out, "nftables table "+t.String())
	}
	return out, err
}
