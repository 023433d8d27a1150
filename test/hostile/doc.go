// Package hostile sends the API what no honest client would: objects with values of the wrong type, size or place, patches that fit
// nothing, queries and headers out of their range, bytes turned over, bombs. Whatever comes, the API says what is wrong with it: no
// panic, no 500, no memory that stays. Requests are made from honest ones (kinds/all/testdata) by a seeded random source: a failure names
// the seed that makes it again.
//
//	go test ./test/hostile                            a few thousand requests, within seconds
//	go test ./test/hostile -requests 1000000 -seed 7  as many as are wanted
//
// It may import everything. Read hostile_test.go, then mutate.go.
package hostile
