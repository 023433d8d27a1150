// Package hostile sends the API what no honest client would: objects with values of the wrong type, size or place, patches that fit
// nothing, queries and headers out of their range, bytes turned over, bombs. Whatever comes, the API says what is wrong with it: no
// panic, no 500, no memory that stays. Requests are made from honest ones (kinds/all/testdata) by a seeded random source: a failure names
// the seed that makes it again.
//
//	go test ./test/hostile                            a few thousand requests, to a server that the test starts
//	go test ./test/hostile -requests 1000000 -seed 7  as many as are wanted
//	go test ./test/hostile -server https://127.0.0.1:6443 -cert admin.crt -key admin.key -timeout 5h -v -requests 1000000
//	                                                  to a running server that is there for this alone, over HTTP/1.1 and HTTP/2 in turns
//
// It may import everything. Read hostile_test.go, then requests.go (objects), language.go (selectors, tokens, CEL, schemas, policies),
// strange.go (headers, streams, other paths), mutate.go (values).
package hostile
