package runtime

// ByRole is one of two values: that of masters, or that of nodes.
func ByRole[T any](r Role, master, node T) T {
	if r == Master {
		return master
	}
	return node
}

// OfMasters reads what all masters are told alike: what the first one is told. Of
// a cluster without masters it is the zero value.
func OfMasters[T any](c *Cluster, read func(*Cluster, Member) (T, error)) (T, error) {
	masters := c.Masters()
	if len(masters) == 0 {
		var none T
		return none, nil
	}
	return read(c, masters[0])
}

// BeforeAndAfter reads something of a cluster as it is, and as it would be. It is
// not known where it is not known what the image of now says.
func BeforeAndAfter[T any](c, next *Cluster, read func(*Cluster) (T, error)) (is, will T, known bool, err error) {
	if !c.Image().Configurable() {
		return is, will, false, nil
	}
	if is, err = read(c); err == nil {
		will, err = read(next)
	}
	return is, will, true, err
}
