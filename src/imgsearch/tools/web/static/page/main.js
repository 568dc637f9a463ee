// Where the page begins: each part looks after its own piece of it, and the state in the address ties them together.

import * as chips from "../ask/chips.js";
import * as connection from "./connection.js";
import * as examples from "../ask/examples.js";
import * as filters from "../ask/filters.js";
import * as histogram from "../ask/histogram.js";
import * as saved from "../ask/saved.js";
import * as search from "../ask/search.js";
import * as views from "../views/views.js";

connection.start();
views.start();
chips.start();
examples.start();
filters.start();
histogram.start();
saved.start();
search.start();
