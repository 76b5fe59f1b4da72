"""The story that `meshwright demo` tells: a scene, seven steps, and the telling."""
