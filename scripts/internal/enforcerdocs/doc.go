// Package enforcerdocs makes the manual pages and the shell completion of the enforcer, which has neither itself: they
// would be part of what everybody has to trust. It reads them off what the program prints as its help, so they say what
// that very program knows.
package enforcerdocs
