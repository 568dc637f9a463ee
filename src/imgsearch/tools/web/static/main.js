// Where the page begins: each part looks after its own piece of it, and the state in the address ties them together.

import * as chips from "./chips.js";
import * as connection from "./connection.js";
import * as examples from "./examples.js";
import * as filters from "./filters.js";
import * as histogram from "./histogram.js";
import * as saved from "./saved.js";
import * as search from "./search.js";
import * as views from "./views.js";

connection.start();
views.start();
chips.start();
examples.start();
filters.start();
histogram.start();
saved.start();
search.start();
