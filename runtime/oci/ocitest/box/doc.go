// Command box is what containers of tests run: a few small programs in one static binary, chosen by the first argument (or
// by the name it is called by), so that tests of the runtime need no image from anywhere.
package main
