//! Tables of the machine and of the rules, and regions that fail in every way over time.

mod evidence;
mod machine;
mod manual;
mod reach;
mod world;
