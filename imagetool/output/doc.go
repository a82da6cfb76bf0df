// Package output makes the files that imagetool writes on this host. They appear under
// their names when they are complete and durable, several of them together, or not at
// all.
//
//	File     a file in the making: Create, Write, then Commit or Abort
//	Staged   a copy of an image, sparse or reflinked, beside the place where it goes
//	UndoLog  where the undo log of an image is kept
//
// What a run that is killed leaves behind are hidden files, .vmseal-*.tmp.
package output
