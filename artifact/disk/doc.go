// Package disk has what writing files safely takes: locks that die with their holder, files that appear when they are
// complete, and clear words when there is no room.
package disk
