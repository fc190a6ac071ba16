"""The packs that ship with Mainspring, built on its public interface alone."""
