// Package sign is the whole work of one signing run:
//
//	plan    the input, its file systems and whether the labels will fit
//	label   digest, sign and write the labels to a copy or to the image itself, then
//	        read them back
//	commit  give the copy, its manifest and the profile their names
//
// Where labels are written to is a target, which imagetool.Copy, imagetool.InPlace and
// imagetool.Carried are. Labels of an earlier build come from its manifest or image (ReadLabels).
package sign
